package event_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"refrain.dev/pkg/event"
)

// A telephone number has one form, however it was written; one without country code is of the workspace's region.
func TestAPhoneHasOneForm(t *testing.T) {
	for _, c := range []struct{ region, in, want string }{
		{"", "+49 (30) 123456", "+4930123456"},
		{"", "+49 (0)30 123456", "+4930123456"},
		{"DE", "030 123456", "+4930123456"},
		{"DE", "030/123-456", "+4930123456"},
		{"DE", "0049 30 123456", "+4930123456"},
		{"GB", "442079460000", "+442079460000"}, // a number that lost its plus in a spreadsheet
		{"GB", "+49 30 123456", "+4930123456"},
		{"US", "(212) 555-0100", "+12125550100"},
		{"IT", "06 69812345", "+390669812345"}, // the zero stays in Italy
		{"", "+1 555 0100", "+15550100"},
	} {
		kinds := event.DefaultKinds().In(c.region)
		got, err := kinds.Normalise("phone", c.in)
		if err != nil || got != c.want {
			t.Errorf("%q in %q: got %q, %v; want %q", c.in, c.region, got, err, c.want)
		}
	}
	for _, c := range []struct{ region, in, want string }{
		{"", "030 123456", "without country code"},
		{"", "0049 30 123456", "without country code"},
		{"", "+999 123456", "no country has its country code"},
		{"US", "555-0100", "not complete in US"},
		{"DE", "12", "want 5 to 15 digits"},
		{"", "+4930" + strings.Repeat("1", 20), "want 5 to 15 digits"},
		{"DE", strings.Repeat("0", 400) + "1", "it has 401 bytes"},
		{"DE", "030 123456 ext. 7", "only digits"},
	} {
		if got, err := event.DefaultKinds().In(c.region).Normalise("phone", c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: got %q, %v; want an error with %q", c.in, c.region, got, err, c.want)
		}
	}
}

// Whatever is taken for a number is one in its one form, also without a region, and stays it.
func TestAPhoneIsNormalisedOnce(t *testing.T) {
	regions := rapid.SampledFrom([]string{"", "DE", "US", "GB", "IT", "AR", "MX", "BR", "JP", "KZ", "RU", "CI"})
	rapid.Check(t, func(t *rapid.T) {
		region := regions.Draw(t, "region")
		in := rapid.StringMatching(`\+?[0-9][0-9 ./()-]{3,18}`).Draw(t, "number")
		got, err := event.DefaultKinds().In(region).Normalise("phone", in)
		if err != nil {
			return
		}
		for _, again := range []string{region, "", "FR"} {
			if twice, err := event.DefaultKinds().In(again).Normalise("phone", got); err != nil || twice != got {
				t.Fatalf("%q in %q is %q, and that in %q is %q, %v", in, region, got, again, twice, err)
			}
		}
	})
}

func TestRegions(t *testing.T) {
	for code, want := range map[string]bool{"DE": true, "US": true, "GB": true, "UK": false, "de": false, "": false, "XX": false, "Germany": false} {
		if got := event.IsRegion(code); got != want {
			t.Errorf("%q: got %v, want %v", code, got, want)
		}
	}
}

func BenchmarkPhone(b *testing.B) {
	for _, in := range []string{"+4930123456", "030 123456"} {
		b.Run(fmt.Sprint(len(in)), func(b *testing.B) {
			kinds := event.DefaultKinds().In("DE")
			for b.Loop() {
				if _, err := kinds.Normalise("phone", in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
