// A notes application.
package main

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/guard"
)

func main() {
	server, err := client.FromEnv(client.Options{Timeout: 2 * time.Second, WriteTimeout: 2 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	tokens := guard.NewTokens(server, guard.TokenOptions{})

	// Who logs in. The tokens are in the answer.
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		subject, ok := checkPassword(w, r)
		if !ok {
			http.Error(w, "wrong user or password", http.StatusUnauthorized)
			return
		}
		tokens.Login(w, r, rescind.Login{Subject: subject, Device: rescind.Device{UserAgent: r.UserAgent()}})
	})
	mux.Handle("POST /refresh", tokens.RefreshHandler())
	mux.Handle("POST /logout", tokens.LogoutHandler())
	mux.Handle("POST /logout-all", tokens.LogoutAllHandler())

	// Beneath /api there is no way without a token.
	api := http.NewServeMux()
	api.HandleFunc("GET /api/me", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]string{"subject": subjectOf(r)})
	})
	api.HandleFunc("GET /api/notes", listNotes)
	api.HandleFunc("POST /api/notes", addNote)
	mux.Handle("/api/", tokens.Handler(api))
	mux.Handle("GET /api/devices", tokens.DevicesHandler())
	mux.Handle("DELETE /api/devices/{id}", tokens.EndDeviceHandler())

	address := net.JoinHostPort(cmp.Or(os.Getenv("HOST"), "127.0.0.1"), cmp.Or(os.Getenv("PORT"), "8080"))
	fmt.Println("notes at http://" + address)
	app := http.Server{Addr: address, Handler: signed(mux), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	log.Fatal(app.ListenAndServe())
}

// subjectOf returns whose token the request has brought.
func subjectOf(r *http.Request) string {
	who, _ := guard.From(r.Context())
	return who.Subject
}

type note struct {
	Text string `json:"text"`
}

// The users, and their notes for as long as this process lives. Yours are in a database.
var (
	users = map[string]string{"ada": "lovelace", "alan": "turing"}
	notes = struct {
		sync.Mutex
		of map[string][]note
	}{of: map[string][]note{}}
)

func listNotes(w http.ResponseWriter, r *http.Request) {
	notes.Lock()
	list := append([]note{}, notes.of[subjectOf(r)]...)
	notes.Unlock()
	reply(w, http.StatusOK, list)
}

func addNote(w http.ResponseWriter, r *http.Request) {
	var n note
	if !read(w, r, &n) {
		http.Error(w, "a note is a JSON object with a text", http.StatusBadRequest)
		return
	}
	notes.Lock()
	notes.of[subjectOf(r)] = append(notes.of[subjectOf(r)], n)
	notes.Unlock()
	reply(w, http.StatusCreated, n)
}

func checkPassword(w http.ResponseWriter, r *http.Request) (subject string, ok bool) {
	var login struct{ User, Password string }
	if !read(w, r, &login) {
		return "", false
	}
	want, known := users[login.User]
	got, right := sha256.Sum256([]byte(login.Password)), sha256.Sum256([]byte(want))
	return login.User, subtle.ConstantTimeCompare(got[:], right[:]) == 1 && known
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	return json.NewDecoder(http.MaxBytesReader(w, r.Body, 10_000)).Decode(v) == nil
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}

// signed says which process has answered.
func signed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Worker", strconv.Itoa(os.Getpid()))
		next.ServeHTTP(w, r)
	})
}
