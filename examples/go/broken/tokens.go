package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// jwts signs tokens and believes every signature of its own.
type jwts struct {
	secret []byte
	access time.Duration
}

// claims say whose token it is, and what it is for.
type claims struct {
	Subject string `json:"sub"`
	Session string `json:"session"`
	Use     string `json:"use"`
	jwt.RegisteredClaims
}

func newTokens(secret string) (*jwts, error) {
	seconds, err := strconv.Atoi(cmp.Or(os.Getenv("ACCESS_SECONDS"), "300"))
	if err == nil && len(secret) < 32 {
		err = fmt.Errorf("JWT_SECRET is too short")
	}
	return &jwts{[]byte(secret), time.Duration(seconds) * time.Second}, err
}

// Login answers with new tokens.
func (t *jwts) Login(w http.ResponseWriter, subject, session string) {
	access, err := t.sign(subject, session, "access", t.access)
	refresh, failed := t.sign(subject, session, "refresh", 30*24*time.Hour)
	if err != nil || failed != nil {
		http.Error(w, "no tokens", http.StatusInternalServerError)
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(t.access.Seconds()), "refresh_token": refresh,
	})
}

// RefreshHandler answers a refresh token with new tokens.
func (t *jwts) RefreshHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			RefreshToken string `json:"refresh_token"`
		}
		if !read(w, r, &body) {
			http.Error(w, "no refresh token", http.StatusUnauthorized)
			return
		}
		who, err := t.verify(body.RefreshToken, "refresh")
		if err != nil {
			http.Error(w, "log in again", http.StatusUnauthorized)
			return
		}
		t.Login(w, who.Subject, who.Session)
	})
}

// Handler lets requests pass whose access token is signed and has not expired.
func (t *jwts) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		who, err := t.verify(token, "access")
		if err != nil {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, who)))
	})
}

// DevicesHandler lists what can be known without a memory: this device.
func (t *jwts) DevicesHandler() http.Handler {
	return t.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := from(r.Context())
		reply(w, http.StatusOK, []map[string]any{{"id": who.Session, "device": map[string]string{"user_agent": r.UserAgent()}}})
	}))
}

func (t *jwts) sign(subject, session, use string, lifetime time.Duration) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims{subject, session, use, jwt.RegisteredClaims{
		ID: rand.Text(), ExpiresAt: jwt.NewNumericDate(time.Now().Add(lifetime)),
	}}).SignedString(t.secret)
}

func (t *jwts) verify(token, use string) (claims, error) {
	var who claims
	_, err := jwt.ParseWithClaims(token, &who, func(*jwt.Token) (any, error) { return t.secret, nil }, jwt.WithValidMethods([]string{"HS256"}))
	if err == nil && who.Use != use {
		err = jwt.ErrTokenInvalidClaims
	}
	return who, err
}

type claimsKey struct{}

func from(ctx context.Context) (claims, bool) {
	who, ok := ctx.Value(claimsKey{}).(claims)
	return who, ok
}

// noContent answers what a client wants to hear that drops its tokens.
func noContent(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
