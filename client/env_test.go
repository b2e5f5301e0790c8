package client_test

import (
	"errors"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/rescindtest"
)

func TestFromEnvReadsWhatIsNotGiven(t *testing.T) {
	s := rescindtest.Start(t)
	t.Setenv("RESCIND_URL", s.URL)
	t.Setenv("RESCIND_CLIENT_ID", s.App.ID)
	t.Setenv("RESCIND_CLIENT_SECRET", s.App.Secret)
	token := s.Login(t, rescind.Login{Subject: "alice"}).AccessToken.Reveal()
	for _, c := range []struct {
		o    client.Options
		want error
	}{
		{client.Options{}, nil},
		{client.Options{ID: s.Admin.ID, Secret: rescind.Secret(s.Admin.Secret)}, nil},
		{client.Options{Secret: "another-secret-of-thirty-two-characters"}, rescind.ErrUnavailable},
		{client.Options{Server: "http://127.0.0.1:1"}, rescind.ErrUnavailable},
	} {
		got, err := client.FromEnv(c.o)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if _, err := got.Check(t.Context(), token, rescind.Want{}); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", got, err, c.want)
		}
	}
	t.Setenv("RESCIND_URL", "")
	if _, err := client.FromEnv(client.Options{}); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("without a server: %v", err)
	}
}
