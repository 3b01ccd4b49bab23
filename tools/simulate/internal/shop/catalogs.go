package shop

import (
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing/fstest"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/source"
	"refrain.dev/tools/ledger"
)

//go:embed workspace/*.yaml
var workspace embed.FS

// variants is how many workspaces are made beside the first two.
const variants = 24

// Bundles are the compiled workspaces of all runs; catalogs are immutable.
type Bundles struct {
	cache *catalog.Cache
	zones *ledger.Zones
	made  [2 + variants]func() (*bundle, error) // of the first tenant
	other [2 + variants]func() (*bundle, error) // of the second
	bare  [2 + variants]func() (*bundle, error) // of the second, when its definitions are removed
}

// bundle is a compiled workspace, and what the ledger reads of it.
type bundle struct {
	tenant   string
	revision string
	data     []byte
	rules    *ledger.Definitions
}

// NewBundles compiles the workspace, and a second one that allows less and says it otherwise. Others, with caps,
// quiet hours, waits and zones of their own, are compiled when a run needs them.
func NewBundles() (*Bundles, error) {
	dir, err := fs.Sub(workspace, "workspace")
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	b := &Bundles{cache: &catalog.Cache{}, zones: &ledger.Zones{}}
	for n := range b.made {
		b.made[n] = sync.OnceValues(func() (*bundle, error) { return b.compile(dir, variant(n)) })
		b.other[n] = sync.OnceValues(func() (*bundle, error) { return b.compile(dir, variant(n), outlet()) })
		b.bare[n] = sync.OnceValues(func() (*bundle, error) { return b.compile(bareOf(dir), variant(n), outlet()) })
	}
	for n := range 2 {
		if _, err := b.made[n](); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// pair chooses the two workspaces that apply in a run: as a rule the first two.
func (b *Bundles) pair(seed uint64) (both [2]*bundle, err error) {
	numbers := [2]int{0, 1}
	if rng := rand.New(rand.NewPCG(seed, 0x2b)); rng.IntN(3) == 0 { //nolint:gosec // a seed decides everything
		numbers = [2]int{2 + rng.IntN(variants), 2 + rng.IntN(variants)}
	}
	for n, number := range numbers {
		if both[n], err = b.made[number](); err != nil {
			return both, err
		}
	}
	return both, nil
}

func (b *Bundles) compile(fsys fs.FS, changes ...*strings.Replacer) (*bundle, error) {
	var err error
	for _, change := range changes {
		if fsys, err = changed(fsys, change); err != nil {
			return nil, err
		}
	}
	src, diags := definition.Load(fsys)
	for _, d := range diags {
		if d.Severity == definition.Error {
			return nil, fmt.Errorf("workspace: %s", d)
		}
	}
	compiled := src.Bundle()
	out := &bundle{tenant: catalog.TenantOf(compiled), revision: compiled.GetRevision(), data: definition.Marshal(compiled)}
	if _, err := b.cache.Decode(out.data); err != nil {
		return nil, fmt.Errorf("compile the workspace: %w", err)
	}
	if out.rules, err = ledger.ReadDefinitions(fsys); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	return out, nil
}

// stored is the bundle as it is kept.
func (b *bundle) stored() source.Bundle {
	return source.Bundle{Tenant: b.tenant, Revision: b.revision, Data: b.data}
}

// changed is a directory with other texts in its files.
func changed(dir fs.FS, changes *strings.Replacer) (fs.FS, error) {
	out := fstest.MapFS{}
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, path)
		if err != nil {
			return err //nolint:wrapcheck // the caller says what was read
		}
		out[path] = &fstest.MapFile{Data: []byte(changes.Replace(string(data)))}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("change the workspace: %w", err)
	}
	return out, nil
}

// variant says how a workspace differs from the first: 0 not at all; 1 has smaller caps, a longer gap, no patience
// in quiet hours, another subject and a longer wait; the others differ as their number decides.
func variant(n int) *strings.Replacer {
	switch n {
	case 0:
		return strings.NewReplacer()
	case 1:
		return strings.NewReplacer("{max: 3, per: PT1M}", "{max: 2, per: PT1M}", "{max: 2, per: PT15S,", "{max: 2, per: PT30S,",
			"blocked: defer, max_defer: PT1M", "blocked: drop", "gap: PT1S", "gap: PT3S", "How was", "How did you like", "id: again, wait: PT2S", "id: again, wait: PT3S")
	}
	rng := rand.New(rand.NewPCG(uint64(n), 0xca7)) //nolint:gosec // a number decides everything
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	number := func(least, most int) string { return strconv.Itoa(least + rng.IntN(most-least+1)) }
	return strings.NewReplacer(
		"{max: 3, per: PT1M}", "{max: "+number(1, 4)+", per: PT"+number(30, 90)+"S}",
		"{max: 2, per: PT15S, channel: email, blocked: defer, max_defer: PT20S}",
		"{max: "+number(1, 3)+", per: PT"+number(5, 30)+"S, "+one("channel: email, ", "action: please-rate, ", "")+one("blocked: drop", "blocked: defer, max_defer: PT"+number(5, 30)+"S")+"}",
		"{max: 4, per: {calendar: day, zone: recipient}}", "{max: "+number(2, 5)+", per: {calendar: "+one("day", "week", "month")+", zone: "+one("recipient", "Europe/London", "Asia/Kolkata")+"}}",
		`quiet: {from: "20:00", to: "08:00", blocked: defer, max_defer: PT1M}`,
		`quiet: {from: "`+one("20:00", "21:30", "00:00", "13:00")+`", to: "`+one("08:00", "07:15", "12:59")+`", blocked: `+one("drop", "defer, max_defer: PT1M")+`}`,
		"gap: PT1S", "gap: PT"+number(1, 5)+"S", "rate: 0.4", "rate: "+one("0.4", "0.8", "2"),
		"approval: PT15S", "approval: PT"+number(5, 20)+"S", "until: PT20S", "until: PT"+number(10, 30)+"S",
		"id: breathe, wait: PT1S", "id: breathe, wait: PT"+number(1, 4)+"S", "id: again, wait: PT2S", "id: again, wait: PT"+number(1, 4)+"S",
		"default_zone: Europe/London", "default_zone: "+one(zones()...), "collect: PT1S", "collect: PT"+number(1, 3)+"S", "size: 2", "size: "+number(1, 3),
	)
}
