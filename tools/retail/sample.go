package retail

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// Sample writes made-up data of the same shape and with the same warts as the real file: invoices without a
// customer, cancellations minutes or days after the order, lines that come twice, descriptions with commas and
// quotes, write-offs with negative quantities. Equal arguments give equal bytes.
func Sample(w io.Writer, seed uint64, invoices int) error {
	s := &sampler{rnd: rand.New(rand.NewPCG(seed, 0)), out: csv.NewWriter(w), number: 700000} //nolint:gosec // made-up data
	if _, err := io.WriteString(w, header+"\n"); err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	at := time.Date(2025, 11, 3, 8, 0, 0, 0, time.UTC)
	for range invoices {
		at = s.later(at)
		s.invoice(at)
	}
	s.out.Flush()
	if err := s.out.Error(); err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	return nil
}

type sampler struct {
	rnd    *rand.Rand
	out    *csv.Writer
	number int
}

// later is the next instant at which the shop is open.
func (s *sampler) later(at time.Time) time.Time {
	at = at.Add(time.Duration(s.rnd.IntN(300)) * time.Minute)
	if at.Hour() >= 20 || at.Hour() < 7 {
		at = time.Date(at.Year(), at.Month(), at.Day()+1, 7, s.rnd.IntN(60), 0, 0, time.UTC)
	}
	return at
}

func (s *sampler) invoice(at time.Time) {
	s.number++
	customer, country := s.who()
	number := strconv.Itoa(s.number)
	lines := 1 + s.rnd.IntN(5)
	for range lines {
		line := []string{number, s.code(), s.thing(), strconv.Itoa(1 + s.rnd.IntN(12)), stamp(at), s.price(), customer, country}
		s.write(line)
		if s.rnd.IntN(25) == 0 {
			s.write(line)
		}
	}
	switch s.rnd.IntN(12) {
	case 0: // cancelled, often within the quarter of an hour
		after := time.Duration(2+s.rnd.IntN(12)) * time.Minute
		if s.rnd.IntN(2) == 0 {
			after = time.Duration(24+s.rnd.IntN(90)) * time.Hour
		}
		s.write([]string{"C" + number, "M", "Manual", "-1", stamp(at.Add(after)), s.price(), customer, country})
	case 1:
		if s.rnd.IntN(4) == 0 {
			s.number++
			s.write([]string{strconv.Itoa(s.number), s.code(), "damaged, ?", "-5", stamp(at), "0.0", "", "United Kingdom"})
		}
	}
}

func stamp(at time.Time) string { return at.Format("2006-01-02 15:04:05") }

// who gives few customers most of the orders.
func (s *sampler) who() (customer, country string) {
	if s.rnd.IntN(7) == 0 {
		return "", "United Kingdom"
	}
	n := s.rnd.IntN(120)
	n = n * s.rnd.IntN(120) / 120
	countries := []string{"United Kingdom", "United Kingdom", "United Kingdom", "Germany", "France", "EIRE", "Japan", "USA", "Australia", "Unspecified"}
	return strconv.Itoa(20000+n) + ".0", countries[n%len(countries)]
}

func (s *sampler) code() string { return strconv.Itoa(20000 + s.rnd.IntN(5000)) }

func (s *sampler) thing() string {
	things := []string{"PAPER LANTERN", "TEA TOWEL, SET OF 3", `MUG "GOOD MORNING"`, "GARDEN TWINE", "", "ENAMEL JUG", "PARTY BUNTING"}
	return things[s.rnd.IntN(len(things))]
}

func (s *sampler) price() string {
	return strconv.FormatFloat(float64(50+s.rnd.IntN(2500))/100, 'f', -1, 64)
}

func (s *sampler) write(line []string) { _ = s.out.Write(line) } // the writer keeps its error for the end
