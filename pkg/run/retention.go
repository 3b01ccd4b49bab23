package run

import (
	"errors"
	"time"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/snapshot"
)

// Retention is what an operator sets about snapshots and about what of the log is kept.
type Retention struct {
	// Every is how old a chain's newest snapshot may become.
	Every config.Duration `yaml:"every" help:"how old the newest snapshot of a chain may become while there are records after it"`
	// Records is after how many records a snapshot is taken whatever its age.
	Records int `yaml:"records" help:"after about how many records a snapshot is taken whatever its age"`
	// History is how long records are kept at least.
	History config.Duration `yaml:"history" help:"how long records are kept at least: timelines and explanations are told from them"`
	// Inputs is how long events and letters are kept at least.
	Inputs config.Duration `yaml:"inputs" help:"how long events and letters are kept at least; not less than the horizon of dedupe"`
	// Audit is how often a part of a partition's states is compared with its snapshot.
	Audit config.Duration `yaml:"audit" help:"how often a part of the states of one partition is compared with its snapshot"`
	// Grace is how long objects are kept that no manifest leads to.
	Grace config.Duration `yaml:"grace" help:"how long objects are kept that belong to no snapshot"`
	// Unused is how long a catalog must have been neither in force nor named by any state before it is removed.
	Unused config.Duration `yaml:"unused" help:"how long a catalog must have been neither in force nor named by any state before it is removed"`
}

// DefaultRetention fits most.
func DefaultRetention() Retention {
	s := snapshot.Settings{}.WithDefaults()
	return Retention{
		Every: config.Duration(s.Every), Records: s.Records, History: config.Duration(s.History), Inputs: config.Duration(s.Inputs),
		Audit: config.Duration(s.Audit), Grace: config.Duration(s.Grace), Unused: config.Duration(s.Unused),
	}
}

// Validate joins all problems.
func (r Retention) Validate() error {
	var errs []error
	for name, d := range map[string]config.Duration{
		"every": r.Every, "history": r.History, "inputs": r.Inputs, "audit": r.Audit, "grace": r.Grace, "unused": r.Unused,
	} {
		if d < config.Duration(time.Millisecond) {
			errs = append(errs, errors.New("retention: "+name+": must be positive"))
		}
	}
	if r.Records < 1 {
		errs = append(errs, errors.New("retention: records: must be positive"))
	}
	return errors.Join(errs...)
}

// Settings is what Deps hold.
func (r Retention) Settings() snapshot.Settings {
	return snapshot.Settings{
		Every: r.Every.Std(), Records: r.Records, History: r.History.Std(), Inputs: r.Inputs.Std(), Audit: r.Audit.Std(), Grace: r.Grace.Std(),
		Unused: r.Unused.Std(),
	}
}
