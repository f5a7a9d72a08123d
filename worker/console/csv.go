package console

// FormulaSafe returns a cell of a CSV file that no spreadsheet runs as a formula.
func FormulaSafe(s string) string { return formulaSafe(s) }
