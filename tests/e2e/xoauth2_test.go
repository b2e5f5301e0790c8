package e2e

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/rescind/rescind"
)

// xoauth2 is the configuration that golang.org/x/oauth2 is given, and nothing else.
func (s *target) xoauth2(client, secret string, style oauth2.AuthStyle) *oauth2.Config {
	return &oauth2.Config{ClientID: client, ClientSecret: secret, Endpoint: oauth2.Endpoint{TokenURL: s.URL + "/oauth/token", AuthStyle: style}}
}

// held is a grant as the library keeps it, with an access token that has expired.
func held(g rescind.Grant) *oauth2.Token {
	return &oauth2.Token{
		AccessToken: g.AccessToken.Reveal(), RefreshToken: g.RefreshToken.Reveal(), TokenType: g.TokenType,
		Expiry: time.Now().Add(-time.Minute),
	}
}

func (s *target) context(t *testing.T) context.Context {
	return context.WithValue(t.Context(), oauth2.HTTPClient, s.HTTP)
}

// protected asks for something that needs a token, with the library's own client.
func (s *target) protected(t *testing.T, c *http.Client) (status int, header http.Header, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/forward-auth/api/things", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, resp.Header, resp.Body.Close()
}

// logout ends a session by its access token.
func (s *target) logout(t *testing.T, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s (%v)", resp.Status, err)
	}
}

// refused fails the test unless err is the library's own error of the standard's
// code.
func refused(t *testing.T, err error, code string, status int) {
	t.Helper()
	var r *oauth2.RetrieveError
	if !errors.As(err, &r) {
		t.Fatalf("not an error of the library: %v", err)
	}
	if r.ErrorCode != code || r.Response.StatusCode != status {
		t.Fatalf("%q with %d, not %q with %d: %s", r.ErrorCode, r.Response.StatusCode, code, status, r.Body)
	}
}

func TestXOAuth2(t *testing.T) {
	for _, over := range []struct {
		name   string
		secure bool
	}{{"HTTP", false}, {"TLS", true}} {
		t.Run(over.name, func(t *testing.T) {
			s := start(t, over.secure)
			for _, c := range []struct {
				name, client, secret string
				style                oauth2.AuthStyle
			}{
				{"basic", "backend", clientSecret, oauth2.AuthStyleInHeader},
				{"form", "backend", clientSecret, oauth2.AuthStyleInParams},
				{"detected", "backend", clientSecret, oauth2.AuthStyleAutoDetect},
				{"opaque tokens", "opaque.backend", clientSecret, oauth2.AuthStyleInHeader},
				{"public", "browser", "", oauth2.AuthStyleInParams},
				{"public, detected", "browser", "", oauth2.AuthStyleAutoDetect},
			} {
				t.Run(c.name, func(t *testing.T) { s.tryXOAuth2(t, s.xoauth2(c.client, c.secret, c.style)) })
			}
			t.Run("errors", func(t *testing.T) { s.xoauth2Errors(t) })
		})
	}
}

// tryXOAuth2 is the life of a session in the hands of the library.
func (s *target) tryXOAuth2(t *testing.T, conf *oauth2.Config) {
	ctx := s.context(t)
	first := s.login(t, conf.ClientID, "ada", nil)
	tok, err := conf.TokenSource(ctx, held(first)).Token()
	if err != nil {
		t.Fatal(err)
	}
	if tok.RefreshToken == first.RefreshToken.Reveal() || tok.RefreshToken == "" || tok.AccessToken == first.AccessToken.Reveal() {
		t.Fatal("the refresh brought nothing new")
	}
	if left := time.Until(tok.Expiry); tok.Type() != "Bearer" || left < 4*time.Minute || left > 6*time.Minute || !tok.Valid() {
		t.Fatalf("type %q, valid for %s", tok.Type(), left)
	}
	if got := tok.Extra("scope"); got != "read write" {
		t.Errorf("scope %v", got)
	}
	if got := tok.Extra("session"); got != first.Session.String() {
		t.Errorf("session %v", got)
	}

	// The library's own client refreshes when it thinks it is time.
	again := *tok
	again.Expiry = time.Now()
	status, header, err := s.protected(t, conf.Client(ctx, &again))
	if err != nil || status != http.StatusOK || header.Get("X-Rescind-Subject") != "ada" {
		t.Fatalf("%d for %q: %v", status, header.Get("X-Rescind-Subject"), err)
	}

	s.logout(t, tok.AccessToken)
	// One that does not refresh learns it from the API, one that does from its error.
	if status, _, err := s.protected(t, conf.Client(ctx, tok)); err != nil || status != http.StatusUnauthorized {
		t.Fatalf("after logout: %d, %v", status, err)
	}
	_, _, err = s.protected(t, conf.Client(ctx, &again))
	refused(t, err, "invalid_grant", http.StatusBadRequest)
}

func (s *target) xoauth2Errors(t *testing.T) {
	ctx := s.context(t)
	conf := s.xoauth2("backend", clientSecret, oauth2.AuthStyleInHeader)

	t.Run("no such token", func(t *testing.T) {
		_, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: "rsr_none-of-ours"}).Token()
		refused(t, err, "invalid_grant", http.StatusBadRequest)
	})
	t.Run("another client's token", func(t *testing.T) {
		g := s.login(t, "browser", "ada", nil)
		_, err := conf.TokenSource(ctx, held(g)).Token()
		refused(t, err, "invalid_grant", http.StatusBadRequest)
		// It was no reuse: its own client goes on.
		if _, err := s.xoauth2("browser", "", oauth2.AuthStyleInParams).TokenSource(ctx, held(g)).Token(); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
			g := s.login(t, "backend", "ada", nil)
			_, err := s.xoauth2("backend", strings.ToUpper(clientSecret), style).TokenSource(ctx, held(g)).Token()
			refused(t, err, "invalid_client", http.StatusUnauthorized)
		}
	})
	t.Run("reuse", func(t *testing.T) {
		public := s.xoauth2("strict-browser", "", oauth2.AuthStyleInParams)
		g := s.login(t, "strict-browser", "ada", nil)
		tok, err := public.TokenSource(ctx, held(g)).Token()
		if err != nil {
			t.Fatal(err)
		}
		_, err = public.TokenSource(ctx, held(g)).Token()
		refused(t, err, "invalid_grant", http.StatusBadRequest)
		_, err = public.TokenSource(ctx, &oauth2.Token{RefreshToken: tok.RefreshToken}).Token()
		refused(t, err, "invalid_grant", http.StatusBadRequest)
	})
	t.Run("at once", func(t *testing.T) {
		// Processes that do not know of each other share one refresh token.
		g := s.login(t, "backend", "ada", nil)
		var all sync.WaitGroup
		var successors sync.Map
		for range 16 {
			all.Go(func() {
				tok, err := conf.TokenSource(ctx, held(g)).Token()
				if err != nil {
					t.Error(err)
					return
				}
				successors.Store(tok.RefreshToken, true)
			})
		}
		all.Wait()
		n := 0
		successors.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("one refresh token has %d successors", n)
		}
	})
}
