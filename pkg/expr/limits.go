package expr

// The bounds of one expression.
const (
	// MaxLength is the greatest length of an expression in characters.
	MaxLength = 4096
	// MaxNesting is how deep brackets may nest.
	MaxNesting = 24
	// MaxCost bounds the estimated and the actual cost of one evaluation, in units of CEL's cost model.
	MaxCost = 200_000

	maxNodes         = 2000
	maxRecursion     = 120
	maxErrors        = 4
	maxRegexProgram  = 500
	maxComprehension = 2

	// sizes that the estimate assumes of values that come with the input
	assumedText = 256
	assumedList = 64
)
