package simulate

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/simulate/schedule"
)

// faults are those of the schedule: what is still to begin and what goes on.
type faults struct {
	world   *World
	bySteps []schedule.Fault // by step, what has not begun
	byPoint map[string][]schedule.Fault
	active  []*active
	late    []*timer // of writes that are to land
	over    bool
}

// active is a fault of operations that has begun.
type active struct {
	schedule.Fault
	class  schedule.Class
	prefix string
	left   int   // operations that it still hits; -1: all
	until  int64 // never, or when it ends
}

func newFaults(w *World, all []schedule.Fault) faults {
	f := faults{world: w, byPoint: map[string][]schedule.Fault{}}
	for _, one := range all {
		switch {
		case one.When.Point != "":
			f.byPoint[one.When.Point] = append(f.byPoint[one.When.Point], one)
		case one.When.Step != 0:
			f.bySteps = append(f.bySteps, one)
		default:
			w.timers.add(int64(one.When.At), func() { w.faults.begin(one, nil) })
		}
	}
	slices.SortStableFunc(f.bySteps, func(a, b schedule.Fault) int { return cmp.Compare(a.When.Step, b.When.Step) })
	return f
}

// atStep begins the faults of a step.
func (f *faults) atStep(step uint64) {
	for len(f.bySteps) > 0 && f.bySteps[0].When.Step <= step {
		next := f.bySteps[0]
		f.bySteps = f.bySteps[1:]
		f.begin(next, nil)
	}
}

// atPoint begins the faults of a passage. It may not return.
func (f *faults) atPoint(p *Process, name string) {
	if f.over || p.node.name == ScenarioNode {
		return
	}
	var own *schedule.Fault
	for _, one := range f.byPoint[name] {
		passes := f.world.points[name]
		if one.Node != "" {
			passes = p.node.points[name]
		}
		switch {
		case passes != one.When.Pass || (one.Node != "" && one.Node != p.node.name):
		case one.What == schedule.Crash && own == nil:
			own = &one // last: nothing comes after it
		default:
			f.begin(one, p)
		}
	}
	if own != nil {
		f.world.Reach("crash at " + name)
		f.begin(*own, p)
	}
}

// begin begins a fault; p passes the point, or is nil.
func (f *faults) begin(one schedule.Fault, p *Process) {
	if f.over {
		return
	}
	f.world.note(string(one.What), one.Node+one.On, one.Count)
	spec, _ := schedule.SpecOf(one.What)
	if spec.Node {
		n := f.world.byName[one.Node]
		if one.Node == "" && p != nil {
			n = p.node
		}
		if n != nil && n.name != ScenarioNode {
			f.hitNode(n, one)
		}
		return
	}
	if p != nil && one.Node == "" && one.On == "" {
		one.Node = p.node.name
	}
	class, prefix := schedule.Place(one.On)
	a := &active{Fault: one, class: class, prefix: prefix, left: max(one.Times, 1), until: never}
	switch {
	case f.atOnce(a):
		return
	case one.What == schedule.Slow && one.Count > 0:
		a.left, a.until = -1, f.world.now+int64(one.For)*int64(one.Count)
	case spec.Lasts:
		a.until = f.world.now + int64(one.For)
		if one.Times == 0 {
			a.left = -1
		}
	}
	f.active = append(f.active, a)
}

// took counts that a fault took effect.
func (f *faults) took(what schedule.Kind, class schedule.Class) {
	goal := "fault." + string(what)
	if class != "" {
		goal += "." + string(class)
	}
	f.world.Reach(goal)
}

func (f *faults) hitNode(n *Node, one schedule.Fault) {
	switch {
	case one.What == schedule.ClockStep:
		n.StepClock(one.For)
		if one.For.Abs() >= 24*time.Hour {
			f.world.Reach("clock set by days")
		}
	case one.What == schedule.ClockDrift:
		n.Drift(one.Count)
	case n.process == nil: // there is nobody to hit
		return
	case one.What == schedule.Crash:
		f.took(one.What, "")
		n.startAfter(one.For)
		n.crash()
		return
	case one.What == schedule.Stop:
		n.stop(one.For)
	case one.What == schedule.Pause:
		f.took(one.What, "")
		n.Pause(one.For)
		return
	}
	f.took(one.What, "")
}

// hit returns the fault that an operation meets, or nil.
func (f *faults) hit(p *Process, o *operation) *active {
	if len(f.active) == 0 || (p.node.name == ScenarioNode && o.class != schedule.RPC) {
		return nil
	}
	for i := 0; i < len(f.active); i++ {
		a := f.active[i]
		if a.until <= f.world.now {
			f.active = slices.Delete(f.active, i, i+1)
			i--
			continue
		}
		if !a.meets(o) || !a.covers(f.world, p, o.class, o.on) {
			continue
		}
		if a.left > 0 {
			a.left--
		}
		if a.left == 0 {
			f.active = slices.Delete(f.active, i, i+1)
		}
		f.took(a.What, o.class)
		return a
	}
	return nil
}

// meets says whether the fault is for that sort of operation.
func (a *active) meets(o *operation) bool {
	switch a.What { //nolint:exhaustive // the rest does not hit operations
	case schedule.Lost, schedule.Applied, schedule.Late:
		return o.write
	case schedule.LostRead:
		return !o.write
	case schedule.Double:
		return o.doubles
	case schedule.Pending:
		return o.name == opAppend
	case schedule.Full:
		return o.write && o.class == schedule.Log
	case schedule.Partial:
		return o.name == opApply || o.name == opRestore
	case schedule.Slow, schedule.Unavailable:
		return true
	}
	return false
}

// covers says whether a place of a process is the fault's.
func (a *active) covers(w *World, p *Process, class schedule.Class, on string) bool {
	switch {
	case a.Node != "" && a.Node != p.node.name:
		return false
	case a.class == "":
		return true
	case a.class == schedule.Stream:
		return class == schedule.Log && w.log.StreamOf(on) == a.prefix
	default:
		return a.class == class && strings.HasPrefix(on, a.prefix)
	}
}

// panics does, if a fault says so for a row of a stage.
func (f *faults) panics(p *Process, row string) {
	if len(f.active) == 0 {
		return
	}
	stage, key, _ := strings.Cut(row, "/")
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(key))
	eighth := fmt.Sprintf("%s/%d", stage, hash.Sum32()%8)
	for _, a := range f.active {
		if a.What == schedule.Panic && a.until > f.world.now && a.covers(f.world, p, schedule.Fold, eighth) {
			f.took(schedule.Panic, schedule.Fold)
			panic("planted")
		}
	}
}

// heldUntil says until when nothing of a subject is delivered to a process; 0 if it is.
func (f *faults) heldUntil(p *Process, subject string) int64 {
	until := int64(0)
	for _, a := range f.active {
		if a.What == schedule.Held && a.until > f.world.now && a.covers(f.world, p, schedule.Feed, subject) {
			until = max(until, a.until)
			f.took(schedule.Held, schedule.Feed)
		}
	}
	return until
}

// later lets a write take effect after d.
func (f *faults) later(d time.Duration, o operation, effect func() error) {
	if o.keep != nil {
		o.keep()
	}
	f.late = append(f.late, f.world.timers.add(f.world.now+int64(d), func() {
		f.world.note("lands", o.on, o.size)
		if effect() == nil {
			f.world.Reach("landed late." + string(o.class))
		}
	}))
}

// calm ends everything.
func (f *faults) calm() {
	w := f.world
	w.note("calm", "", 0)
	f.over, f.bySteps, f.byPoint, f.active = true, nil, nil, nil
	for _, t := range f.late {
		if t.index >= 0 {
			w.timers.cancel(t)
			t.fire()
		}
	}
	f.late = nil
	for _, n := range w.nodes {
		n.pausedUntil = 0
		if n.starts != nil && n.process == nil {
			n.startAfter(0)
		}
		if n.process == nil {
			continue
		}
		for _, feed := range n.process.feeds {
			feed.release()
		}
	}
}
