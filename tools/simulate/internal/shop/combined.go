package shop

import (
	"fmt"
	"math/rand/v2"
	"time"

	"refrain.dev/pkg/simulate/schedule"
)

// combined are operations and faults that belong together and would meet far too rarely by chance.
func combined(seed uint64) schedule.Schedule {
	rng := rand.New(rand.NewPCG(seed, 0xc0b)) //nolint:gosec // a seed decides everything
	if seed%18 == 1 && trims(seed) {
		return unreadWhileTrimmed(rng)
	}
	switch seed % 32 {
	case 0:
		if !small(seed) {
			return heavy(rng)
		}
	case 3, 19:
		return waitingAtNight(rng)
	case 4:
		return dyingInDoubt(rng)
	case 11, 27:
		return lateCatalogs(rng)
	case 12, 28:
		return deadLetters(rng)
	case 20:
		return sharedAddress(rng)
	case 1, 8, 16, 24:
		return takenAddress(rng)
	case 10, 26:
		return clocksSet(rng)
	case 2, 9, 17, 18, 25:
		return panicking(rng)
	}
	switch seed % 8 {
	case 5:
		return dyingAtTheAppend(rng)
	case 6:
		return optOutUnseen(rng)
	case 7:
		return dyingOfAnInput(rng)
	default:
		return schedule.Schedule{}
	}
}

// waitingAtNight lets so many orders come, half a minute after the begin, that mails that were approved before quiet
// hours wait for their turn until then; see begin.
func waitingAtNight(rng *rand.Rand) schedule.Schedule {
	s := schedule.Schedule{}
	for c := range customers {
		s.Operations = append(s.Operations, schedule.Operation{
			At: between(rng, 23*time.Second, 28*time.Second), Client: c % clients, Do: fmt.Sprintf("order customer=%d order=%d lane=live late=0s", c, 4000+c),
		})
	}
	return s
}

// lateCatalogs lets catalogs be applied one after the other, while what tells the partitions so is late.
func lateCatalogs(rng *rand.Rand) schedule.Schedule {
	at := between(rng, 4*time.Second, 20*time.Second)
	s := schedule.Schedule{}
	for n := range 4 {
		s.Operations = append(s.Operations, schedule.Operation{
			At: at + time.Duration(n)*between(rng, 500*time.Millisecond, 1500*time.Millisecond), Client: n % clients, Do: fmt.Sprintf("apply revision=%d", n%2),
		})
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{At: at + time.Duration(n)*100*time.Millisecond}, What: schedule.Late, On: fmt.Sprintf("log:evt.control.%d", n%partitions),
			For: between(rng, 2*time.Second, 5*time.Second),
		})
	}
	return s
}

// dyingInDoubt kills dispatchers between a request and its outcome, and again when, long after, the next owner has
// looked it up. Clients stay at work until then.
func dyingInDoubt(rng *rand.Rand) schedule.Schedule {
	s := schedule.Schedule{Operations: []schedule.Operation{{At: 65 * time.Second, Client: rng.IntN(clients), Do: "ask customer=0 reserve=false"}}}
	for n := range 3 {
		s.Operations = append(s.Operations, schedule.Operation{
			At: between(rng, 2*time.Second, 8*time.Second), Client: n % clients, Do: fmt.Sprintf("cancel customer=%d order=%d", rng.IntN(customers), 5000+n),
		})
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{Point: "dispatch.sent", Pass: 1 + rng.IntN(4)}, What: schedule.Crash, For: between(rng, 50*time.Millisecond, 2*time.Second),
		})
	}
	s.Faults = append(s.Faults, schedule.Fault{
		When: schedule.When{Point: "dispatch.looked", Pass: 1 + rng.IntN(2)}, What: schedule.Crash, For: between(rng, 50*time.Millisecond, 2*time.Second),
	})
	return s
}

// dyingAtTheAppend refuses the appends of a stage for a while, in which its owners die: whatever they had done
// before their records were stored was done too early.
func dyingAtTheAppend(rng *rand.Rand) schedule.Schedule {
	service, chain := "suppression", "vdc."
	switch rng.IntN(6) {
	case 0:
		service, chain = "profile", "prf."
	case 1:
		service, chain = "decision", "act."
	case 2:
		service, chain = "dispatch", "snd."
	}
	at := between(rng, 4*time.Second, 20*time.Second)
	s := schedule.Schedule{Faults: []schedule.Fault{{
		When: schedule.When{At: at}, What: schedule.Unavailable, On: "log:" + chain, For: between(rng, time.Second, 4*time.Second),
	}}}
	for n := range replicas {
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{At: at + between(rng, 0, 3*time.Second)}, What: schedule.Crash, Node: replica(service, n),
			For: between(rng, 50*time.Millisecond, 2*time.Second),
		})
	}
	for n := range 2 * clients {
		do := fmt.Sprintf("reserve customer=%d id=%d then=%s", rng.IntN(customers), 1000+n, []string{"commit", "nothing"}[rng.IntN(2)])
		if service == "profile" {
			do = fmt.Sprintf("consent customer=%d state=given by=email", rng.IntN(customers)) // goes on as a letter
		}
		s.Operations = append(s.Operations, schedule.Operation{At: at + between(rng, 0, 2*time.Second), Client: n % clients, Do: do})
	}
	return s
}

// unreadWhileTrimmed keeps what one stage writes from its readers for so long that snapshots of it are taken, and the
// log behind them would be trimmed if it did not wait for them.
func unreadWhileTrimmed(rng *rand.Rand) schedule.Schedule {
	s := schedule.Schedule{Faults: []schedule.Fault{{
		When: schedule.When{At: between(rng, 3*time.Second, 6*time.Second)}, What: schedule.Held,
		On: "feed:" + []string{"prf.", "act.", "vdc."}[rng.IntN(3)], For: between(rng, 18*time.Second, 24*time.Second),
	}}}
	for c := range customers {
		s.Operations = append(s.Operations, schedule.Operation{
			At: between(rng, 6*time.Second, 25*time.Second), Client: c % clients, Do: fmt.Sprintf("order customer=%d order=%d lane=live late=0s", c, 6000+c),
		})
	}
	return s
}

// optOutUnseen keeps the profile stage from reading while customers opt out whose mails wait for their turn, and
// as a rule the dispatch stage from finding out that it does.
func optOutUnseen(rng *rand.Rand) schedule.Schedule {
	at := between(rng, 6*time.Second, 15*time.Second)
	s := schedule.Schedule{Faults: []schedule.Fault{{
		When: schedule.When{At: at}, What: schedule.Held, On: "feed:evt.", For: between(rng, 8*time.Second, 14*time.Second),
	}}}
	if rng.IntN(2) == 0 {
		s.Faults = nil
		for n := range replicas {
			s.Faults = append(s.Faults, schedule.Fault{
				When: schedule.When{At: at}, What: schedule.Pause, Node: replica("profile", n), For: between(rng, 8*time.Second, 14*time.Second),
			})
		}
	}
	if rng.IntN(3) > 0 {
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{At: at + 1500*time.Millisecond}, What: schedule.Unavailable, On: "log:evt.control.", For: 10 * time.Second,
		})
	}
	for c := range customers {
		s.Operations = append(s.Operations,
			schedule.Operation{At: at - between(rng, 2500*time.Millisecond, 4*time.Second), Client: c % clients, Do: fmt.Sprintf("order customer=%d order=%d lane=live late=0s", c, 2000+c)},
			schedule.Operation{At: at + between(rng, 0, time.Second), Client: c % clients, Do: fmt.Sprintf("consent customer=%d state=withdrawn by=user", c)},
		)
	}
	return s
}

// dyingOfAnInput kills an owner, and then again while it tries the inputs one by one, which come thick.
func dyingOfAnInput(rng *rand.Rand) schedule.Schedule {
	at := between(rng, 4*time.Second, 20*time.Second)
	service := names()[1+rng.IntN(len(names())-1)]
	s := schedule.Schedule{}
	for n := range replicas {
		node := replica(service, n)
		s.Faults = append(s.Faults,
			schedule.Fault{When: schedule.When{At: at}, What: schedule.Crash, Node: node, For: between(rng, 50*time.Millisecond, time.Second)},
			schedule.Fault{When: schedule.When{Point: "stage.attempted", Pass: 1 + rng.IntN(4)}, What: schedule.Crash, Node: node, For: between(rng, 50*time.Millisecond, time.Second)},
		)
	}
	for c := range clients {
		s.Operations = append(s.Operations, schedule.Operation{
			At: at + between(rng, 0, 200*time.Millisecond), Client: c, Do: fmt.Sprintf("burst customer=%d order=%d count=4", rng.IntN(customers), 3000+c),
		})
	}
	return s
}

// deadLetters kills the owners of a stage until inputs are given up, and sends back what was, perhaps in the middle of
// that, by several operators.
func deadLetters(rng *rand.Rand) schedule.Schedule {
	at := between(rng, 4*time.Second, 15*time.Second)
	service := names()[1+rng.IntN(len(names())-1)]
	s := schedule.Schedule{}
	for n := range replicas {
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{At: at}, What: schedule.Crash, Node: replica(service, n), For: between(rng, 50*time.Millisecond, time.Second),
		})
	}
	for n := range 3 * partitions {
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{Point: "stage.attempted", Pass: 1 + n}, What: schedule.Crash, For: between(rng, 50*time.Millisecond, time.Second),
		})
	}
	for c := range clients {
		do := fmt.Sprintf("burst customer=%d order=%d count=3", rng.IntN(customers), 6000+c)
		if rng.IntN(3) == 0 {
			do = fmt.Sprintf("consent customer=%d state=withdrawn by=user", rng.IntN(customers))
		}
		s.Operations = append(s.Operations, // proposals follow an order after two seconds
			schedule.Operation{At: at - between(rng, -200*time.Millisecond, 2500*time.Millisecond), Client: c, Do: do},
			schedule.Operation{At: at + between(rng, 12*time.Second, 40*time.Second), Client: c, Do: "redrive"},
		)
	}
	return s
}

// clocksSet sets the clocks of a service's processes by days, at the same time or one after the other, while orders
// come, and sets them right again.
func clocksSet(rng *rand.Rand) schedule.Schedule {
	service := names()[rng.IntN(len(names()))]
	at := between(rng, 4*time.Second, 12*time.Second)
	s := schedule.Schedule{}
	for n := range replicas {
		step := schedule.Fault{When: schedule.When{At: at + between(rng, 0, 3*time.Second)}, What: schedule.ClockStep, Node: replica(service, n), For: days(rng)}
		back := step
		back.When.At += between(rng, 2*time.Second, 10*time.Second)
		back.For = -step.For
		if s.Faults = append(s.Faults, step, back); rng.IntN(2) == 0 {
			break
		}
	}
	for n := range 4 * clients {
		do := fmt.Sprintf("order customer=%d order=%d lane=live late=0s", rng.IntN(customers), 8000+n)
		switch rng.IntN(6) {
		case 0:
			do = fmt.Sprintf("consent customer=%d state=%s by=user", rng.IntN(customers), []string{"given", "withdrawn"}[rng.IntN(2)])
		case 1:
			do = fmt.Sprintf("reserve customer=%d id=%d then=commit", rng.IntN(customers), 2000+n)
		}
		s.Operations = append(s.Operations, schedule.Operation{At: at - 3*time.Second + between(rng, 0, 12*time.Second), Client: n % clients, Do: do})
	}
	return s
}

// sharedAddress lets a customer claim the address of another, who says no to mails there while orders lead to some.
func sharedAddress(rng *rand.Rand) schedule.Schedule {
	at, owner := between(rng, 4*time.Second, 15*time.Second), rng.IntN(customers)
	claimant := (owner + 1 + rng.IntN(customers-1)) % customers
	s := schedule.Schedule{Operations: []schedule.Operation{
		{At: at, Client: rng.IntN(clients), Do: fmt.Sprintf("share customer=%d with=%d", claimant, owner)},
		{At: at + between(rng, 0, 4*time.Second), Client: rng.IntN(clients), Do: fmt.Sprintf("consent customer=%d state=withdrawn by=%s", owner, []string{"user", "email"}[rng.IntN(2)])},
	}}
	for n := range 4 {
		s.Operations = append(s.Operations, schedule.Operation{
			At: at + between(rng, 0, 8*time.Second), Client: n % clients, Do: fmt.Sprintf("order customer=%d order=%d lane=live late=0s", claimant, 7000+n),
		})
	}
	return s
}

// takenAddress lets somebody be contacted who is known by address only, until a person takes the address and orders
// on. The customer is one whom the other operations do not know.
func takenAddress(rng *rand.Rand) schedule.Schedule {
	who, zone := customers, rng.IntN(3)
	s := schedule.Schedule{}
	do := func(at time.Duration, format string, args ...any) {
		s.Operations = append(s.Operations, schedule.Operation{At: at, Client: rng.IntN(clients), Do: fmt.Sprintf(format, args...)})
	}
	do(0, "consent customer=%d state=given by=email", who)
	for n := range 2 + rng.IntN(3) {
		do(between(rng, 100*time.Millisecond, 6*time.Second), "order customer=%d order=%d lane=live late=0s by=email zone=%d", who, 8000+n, zone)
	}
	taken := between(rng, 2*time.Second, 12*time.Second)
	do(taken, "identify customer=%d zone=%d", who, zone)
	do(taken, "consent customer=%d state=given by=user", who)
	if rng.IntN(2) == 0 { // what was sent to the address is known late where its person is
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{At: taken}, What: schedule.Held, On: "feed:box.suppression.", For: between(rng, 4*time.Second, 9*time.Second),
		})
	}
	for n := range 3 + rng.IntN(3) {
		do(taken+between(rng, 0, 8*time.Second), "order customer=%d order=%d lane=live late=0s", who, 8100+n)
	}
	return s
}

// panicking makes the fold of a stage panic for some customers, while orders come and their timers fire: what is given
// up is sent back, during that and after it.
func panicking(rng *rand.Rand) schedule.Schedule {
	at := between(rng, 4*time.Second, 15*time.Second)
	service := names()[1+rng.IntN(len(names())-1)]
	s := schedule.Schedule{}
	for range 2 {
		s.Faults = append(s.Faults, schedule.Fault{
			When: schedule.When{At: at}, What: schedule.Panic, On: fmt.Sprintf("fold:%s/%d", service, rng.IntN(8)), For: between(rng, 3*time.Second, 20*time.Second),
		})
	}
	for c := range customers {
		s.Operations = append(s.Operations, schedule.Operation{
			At: at - between(rng, -2*time.Second, 2500*time.Millisecond), Client: c % clients, Do: fmt.Sprintf("order customer=%d order=%d lane=live late=0s", c, 7000+c),
		})
	}
	for c := range clients {
		s.Operations = append(s.Operations, schedule.Operation{At: at + between(rng, 5*time.Second, 40*time.Second), Client: c, Do: "redrive"})
	}
	return s
}

// heavy keeps a stage from reading while many orders come, some of them as large as what a journey may keep of one:
// then all are decided at once, in records that are closed by their size.
func heavy(rng *rand.Rand) schedule.Schedule {
	at := between(rng, 3*time.Second, 8*time.Second)
	s := schedule.Schedule{Faults: []schedule.Fault{{
		When: schedule.When{At: at}, What: schedule.Held, On: "feed:" + []string{"evt.", "evt.", "prf.", "act."}[rng.IntN(4)], For: between(rng, 8*time.Second, 12*time.Second),
	}}}
	for n := range 2 * clients {
		size := 0
		if n%2 == 0 {
			size = 3000 + rng.IntN(13000)
		}
		s.Operations = append(s.Operations, schedule.Operation{
			At: at + between(rng, 0, time.Second), Client: n % clients, Do: fmt.Sprintf("burst customer=%d order=%d count=%d size=%d", rng.IntN(customers), 9000+n, 20+rng.IntN(30), size),
		})
	}
	return s
}

// between draws a time.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least))).Round(time.Millisecond)
}
