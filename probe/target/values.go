package target

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expect says which statuses mean that a request went well. Without any: 200 to
// 399.
type Expect []StatusRange

// StatusRange is an inclusive range of status codes.
type StatusRange struct{ Low, High int }

// Matches reports whether status is one of those expected.
func (e Expect) Matches(status int) bool {
	if len(e) == 0 {
		return status >= 200 && status <= 399
	}
	return slices.ContainsFunc(e, func(r StatusRange) bool { return status >= r.Low && status <= r.High })
}

func (e Expect) String() string {
	if len(e) == 0 {
		return "2xx or 3xx"
	}
	var all []string
	for _, r := range e {
		all = append(all, r.String())
	}
	return strings.Join(all, " or ")
}

func (r StatusRange) String() string {
	if r.Low == r.High {
		return strconv.Itoa(r.Low)
	}
	return strconv.Itoa(r.Low/100) + "xx"
}

var statusPattern = regexp.MustCompile(`^(?:([1-5])xx|([1-5][0-9][0-9]))$`)

func parseStatus(value any) (StatusRange, error) {
	text := strings.ToLower(fmt.Sprint(value))
	m := statusPattern.FindStringSubmatch(text)
	switch {
	case m == nil:
		return StatusRange{}, fmt.Errorf("expect: a status is a number as 200 or a class as 2xx")
	case m[1] != "":
		class := int(m[1][0]-'0') * 100
		return StatusRange{class, class + 99}, nil
	}
	n, err := strconv.Atoi(m[2])
	return StatusRange{n, n}, err
}

// UnmarshalYAML reads a status, a class, or a list of them.
func (e *Expect) UnmarshalYAML(unmarshal func(any) error) error {
	var value any
	if err := unmarshal(&value); err != nil {
		return err
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	for _, item := range list {
		r, err := parseStatus(item)
		if err != nil {
			return err
		}
		*e = append(*e, r)
	}
	return nil
}

// MarshalYAML writes the shortest form.
func (e Expect) MarshalYAML() (any, error) {
	list := make([]any, len(e))
	for i, r := range e {
		if list[i] = r.String(); r.Low == r.High {
			list[i] = r.Low
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

// Duration is a time.Duration that is written as in 200ms or 5s.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// UnmarshalYAML reads "200ms"; a number without a unit is refused, but for 0.
func (d *Duration) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("a duration is a number with a unit, as in 200ms or 5s")
	}
	*d = Duration(parsed)
	return nil
}

// MarshalYAML writes it as it is read.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// Size is a number of bytes, written plainly or as in 64KiB and 1MiB.
type Size int64

var (
	sizePattern = regexp.MustCompile(`^([0-9]{1,12}) ?(|B|KiB|MiB)$`)
	sizeUnits   = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
)

// UnmarshalYAML reads a number of bytes, with or without a unit.
func (s *Size) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("a size is a number of bytes, or as in 64KiB and 1MiB")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	*s = Size(n * sizeUnits[m[2]])
	return err
}

// MarshalYAML writes the largest unit that fits.
func (s Size) MarshalYAML() (any, error) {
	for _, unit := range []string{"MiB", "KiB"} {
		if n := sizeUnits[unit]; s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + unit, nil
		}
	}
	return int64(s), nil
}
