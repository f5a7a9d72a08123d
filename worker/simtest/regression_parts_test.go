package simtest

// partsRegressions are worlds of captures in parts. They have too many holds to be
// written out, so they are drawn from their seeds.
var partsRegressions = []regression{
	{"two parts are requested in one millisecond: the second was accepted and never captured",
		drawPlan(313)},
	{"Redis is emptied after a part, and the request is repeated: the part was captured again",
		drawPlan(1796036206296679710)},
	{"captures in parts beside faults, seed 2029", drawPlan(2029)},
	{"captures in parts beside faults, seed 5031", drawPlan(5031)},
	{"captures in parts beside faults, seed 6037", drawPlan(6037)},
	{"a part's answer is lost and the authorization ends: no event told of the part",
		drawPlan(1796021164955876877)},
	{"Redis is emptied while a part is on its way: the part was captured under a second key too",
		drawPlan(1796093593328047668)},
	{"a replica is lost with the answer to a part: the part was taken for another system's",
		drawPlan(1796032585637440320)},
}
