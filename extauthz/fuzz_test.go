package extauthz_test

import (
	"net/http"
	"slices"
	"testing"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/rescind/rescind/extauthz"
	"github.com/rescind/rescind/rescindtest"
)

// FuzzCheck: whatever a check holds, it gets an answer, and without a token that
// stands the answer is no.
func FuzzCheck(f *testing.F) {
	s := extauthz.New(rescindtest.Start(f).Handler)
	for _, q := range []question{
		{rule: "-", method: "GET"},
		{rule: "web", method: "POST", header: http.Header{"Cookie": {"__Host-rescind-at=x"}, "Origin": {"https://api.example.com"}}},
		{rule: "../x", method: "\x00", header: http.Header{"Authorization": {"Bearer x", "Bearer y"}, "X_rescind_scope": {"\n"}}, raw: true},
	} {
		text, err := proto.Marshal(q.request())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		in := &auth.CheckRequest{}
		if proto.Unmarshal(text, in) != nil {
			return
		}
		a, err := s.Check(t.Context(), in)
		status := int(a.GetDeniedResponse().GetStatus().GetCode())
		if err != nil || a.GetOkResponse() != nil || !slices.Contains([]int{401, 403, 503}, status) {
			t.Fatalf("%v: %v, %v", in, a, err)
		}
		if _, err := proto.Marshal(a); err != nil {
			t.Fatalf("%v: an answer that cannot be sent: %v", in, err)
		}
	})
}
