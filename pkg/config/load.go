package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Source is where settings come from, beside the defaults that are in the struct already.
type Source struct {
	// Service names the environment variables: REFRAIN_<SERVICE>_….
	Service string
	// Args is the command line without the program's name. --config names the YAML file.
	Args []string
	// Env is the environment as os.Environ returns it.
	Env []string
	// Output takes the usage text; nil discards it.
	Output io.Writer
	// ReadFile reads the YAML file; nil means os.ReadFile.
	ReadFile func(name string) ([]byte, error)
}

// ErrHelp says that the usage was asked for and printed.
var ErrHelp = flag.ErrHelp

// Validator is a config that can check itself. Validate joins all problems.
type Validator interface{ Validate() error }

// Load fills into, a pointer to a struct that holds the defaults. Unknown keys, unknown variables of the
// service and unknown flags are errors; all errors of one source are joined. It calls Validate if into
// has it.
func Load(into any, src Source) error {
	leaves, err := leavesOf(into)
	if err != nil {
		return err
	}
	flags, values := newFlags(leaves, src)
	if err := parse(flags, src); err != nil {
		return err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return fmt.Errorf("%q is not a flag (%s --help lists them)", rest[0], src.Service)
	}
	if err := loadFile(into, values.file, src); err != nil {
		return err
	}
	if err := loadEnv(leaves, src); err != nil {
		return err
	}
	if err := values.apply(); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	if v, ok := into.(Validator); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("check configuration: %w", err)
		}
	}
	return nil
}

// parse reads the flags. The usage is printed only if it is asked for: for a wrong flag one line is enough.
func parse(flags *flag.FlagSet, src Source) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(src.Args)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, flag.ErrHelp):
		if src.Output != nil {
			flags.SetOutput(src.Output)
			flags.Usage()
		}
		return err
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: "); ok {
		return fmt.Errorf("unknown flag %s (%s --help lists them)", name, src.Service)
	}
	return fmt.Errorf("%w (%s --help says more)", err, src.Service)
}

func loadFile(into any, flagged string, src Source) error {
	name := flagged
	if name == "" {
		name = lookup(src.Env, envName(src.Service, "config"))
	}
	if name == "" {
		return nil
	}
	read := src.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	data, err := read(name)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read configuration %s: %w", name, err)
	}
	return nil
}

func loadEnv(leaves []leaf, src Source) error {
	var errs []error
	known := map[string]bool{envName(src.Service, "config"): true}
	for _, l := range leaves {
		name := envName(src.Service, l.name)
		known[name] = true
		if value := lookup(src.Env, name); value != "" {
			if err := l.set(value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	prefix := envName(src.Service, "")
	for _, entry := range src.Env {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, prefix) && !known[name] {
			errs = append(errs, fmt.Errorf("%s: no such setting", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("read environment: %w", err)
	}
	return nil
}

// envName is a leaf's environment variable; with an empty leaf it is the service's prefix.
func envName(service, leaf string) string {
	replace := strings.NewReplacer("-", "_", ".", "_")
	return "REFRAIN_" + strings.ToUpper(replace.Replace(service)) + "_" + strings.ToUpper(replace.Replace(leaf))
}

func lookup(env []string, name string) string {
	value := ""
	for _, entry := range env {
		if k, v, ok := strings.Cut(entry, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// flagValues remembers what the command line said until file and environment are read, so that flags win.
type flagValues struct {
	file  string
	sets  []func() error
	names []string
}

func newFlags(leaves []leaf, src Source) (*flag.FlagSet, *flagValues) {
	values := &flagValues{}
	flags := flag.NewFlagSet(src.Service, flag.ContinueOnError)
	flags.StringVar(&values.file, "config", "", "YAML `file` with settings")
	for _, l := range leaves {
		set := func(value string) error {
			values.sets = append(values.sets, func() error { return l.set(value) })
			values.names = append(values.names, l.name)
			return nil
		}
		usage := l.help
		if def := l.show(); def != "" {
			usage += " (default " + def + ")"
		}
		if l.isBool() {
			flags.BoolFunc(l.name, usage, set)
		} else {
			flags.Func(l.name, usage, set)
		}
	}
	return flags, values
}

func (v *flagValues) apply() error {
	var errs []error
	for i, set := range v.sets {
		if err := set(); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", v.names[i], err))
		}
	}
	return errors.Join(errs...)
}
