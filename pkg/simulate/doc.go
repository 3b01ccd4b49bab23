// Package simulate runs a whole mesh, unchanged, in one goroutine's worth of execution: its time, its
// scheduling, its network, its log and its store are simulated, and one seed decides everything. The same
// seed and schedule of faults give the same run, to the last choice.
//
// A world is made and run like this:
//
//	w := simulate.New(simulate.Config{Seed: seed, Schedule: s})
//	_, err := log.Provision(ctx, w.Log(), generation, log.ProvisionConfig{})   // without faults
//	for _, name := range []string{"profile-0", "profile-1"} {
//		w.Node(name, simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
//			// Build the service from p.Clock, p.Broker, p.KV, p.Store, p.Points, p.Registrar and
//			// p.Dial("decision-0"), register it, and run it until p.Context ends.
//			return service.Run(p.Context())
//		})
//	}
//	result := w.Run(func(ctx context.Context, p *simulate.Process) error {
//		clients := clock.NewGroup(p.Clock(), 0)
//		for c := range s.Clients() {
//			clients.Go(func() error { return client(ctx, p, w.Operations(c)) })
//		}
//		err := clients.Wait(ctx)
//		w.Calm()                                  // no more faults
//		p.Until(ctx, time.Minute, time.Second, quiet)
//		check(w.Log(), w.Store(), w.Violate)      // the truth, without faults
//		return err
//	})
//
// Everything that works beside something else is a coroutine. It runs until it parks: in a Wait of its clock,
// or in a port, which lets others run before and after its effect. Whoever can go on is chosen at random. When
// nobody can, the time jumps to the next moment at which somebody can. So simulated code waits and works
// beside itself only through its clock (refrain.dev/pkg/clock), and keeps no state outside of what its
// process made.
//
// A Node is a machine, a Process one incarnation of what runs on it. A crash ends a process between two of its
// steps: its coroutines are unwound by a panic, and nothing that they do meanwhile has an effect.
//
// What goes wrong is data: package schedule has the faults, their text, their generation from a seed and the
// shrinker; package sweep runs many seeds. Goals count what was reached.
package simulate
