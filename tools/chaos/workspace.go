//go:build unix

package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

//go:embed testdata/shop
var shop embed.FS

// variants is how many catalogs take turns.
const variants = 4

// workspace is one catalog of the run, and the rules in it as the check reads them.
type workspace struct {
	fleet.Workspace

	rules *ledger.Definitions
}

// define writes and compiles the catalogs, and lets the first take effect.
func (w *world) define(ctx context.Context) error {
	for n := range variants {
		dir := w.path("workspaces", fmt.Sprint(n))
		values := map[string]any{
			"Cap": 3 + n, "Thanks": 2 + n%2, "Approval": 20 + 10*n,
			"Provider": "http://" + w.provider.door.Addr(), "SecretEnv": secretEnv,
		}
		if err := writeShop(dir, values); err != nil {
			return err
		}
		compiled, err := fleet.Compile(dir)
		if err != nil {
			return err
		}
		rules, err := ledger.ReadDefinitions(os.DirFS(dir))
		if err != nil {
			return err
		}
		w.workspaces = append(w.workspaces, workspace{compiled, rules})
	}
	return w.workspaces[0].Apply(ctx, w.site, w.gen)
}

func writeShop(dir string, values map[string]any) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of a workspace: %w", err)
	}
	all, err := fs.Glob(shop, "testdata/shop/*.yaml")
	if err != nil {
		return fmt.Errorf("list the shop: %w", err)
	}
	for _, name := range all {
		data, err := shop.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read the shop: %w", err)
		}
		if filepath.Base(name) == "contact.yaml" { // the others have templates of their own
			var out bytes.Buffer
			if err := template.Must(template.New(name).Parse(string(data))).Execute(&out, values); err != nil {
				return fmt.Errorf("write the shop: %w", err)
			}
			data = out.Bytes()
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
			return fmt.Errorf("write the shop: %w", err)
		}
	}
	return nil
}

// applyEach lets one catalog after the other take effect, again and again until each has.
func (w *world) applyEach(ctx context.Context) {
	random := w.random(partApply)
	for n := 1; ; n++ {
		fleet.Pause(ctx, every(random, w.plan.applies))
		next := w.workspaces[n%len(w.workspaces)]
		for ctx.Err() == nil {
			once, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := next.Apply(once, w.site, w.gen)
			cancel()
			if err == nil {
				w.tally.add("catalogs", 1)
				break
			}
			w.tally.add("catalogs not applied at once", 1)
			fleet.Pause(ctx, 200*time.Millisecond)
		}
		if ctx.Err() != nil {
			return
		}
	}
}
