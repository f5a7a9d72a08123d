package api

import "time"

// Limits of one request.
const (
	maxSingleBodyBytes = 64 << 10            // body of a request about one hold
	maxBatchBodyBytes  = 1 << 20             // body of a batch, by default
	maxHeaderBytes     = 8 << 10             // request line and headers
	maxPlanAhead       = 90 * 24 * time.Hour // like the farthest time of a hold
)
