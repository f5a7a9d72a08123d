package console

// EscapeSpreadsheetFormula returns a cell of a CSV file that no spreadsheet
// runs as a formula.
func EscapeSpreadsheetFormula(s string) string { return escapeSpreadsheetFormula(s) }
