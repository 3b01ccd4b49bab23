package telemetry

// Keys of log attributes. Values never hold personal data.
const (
	KeyComponent = "component"
	KeyPartition = "partition"
	KeyStage     = "stage"
	KeySubject   = "subject"
	KeySequence  = "sequence"
	KeyRevision  = "revision"
	KeyLane      = "lane"
	KeyReason    = "reason"
	KeyChannel   = "channel"
	KeyError     = "error"
	KeyAddress   = "address"
	KeyReplica   = "replica"
	KeyCount     = "count"
)
