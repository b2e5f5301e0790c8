package httpapi

import (
	"net/http"
	"time"

	"github.com/rescind/rescind"
)

type keyList struct {
	Keys []rescind.KeyInfo `json:"keys"`
}

func (c *call) listKeys() error {
	keys, err := c.authority.ListKeys(c.context())
	if err != nil {
		return err
	}
	if keys == nil {
		keys = []rescind.KeyInfo{}
	}
	return c.json(http.StatusOK, keyList{keys})
}

type rotateRequest struct {
	Use rescind.KeyUse `json:"use" enum:"sig,mac"`
}

func (c *call) rotateKey() error {
	var q rotateRequest
	if err := c.decode(&q, false); err != nil {
		return err
	}
	if err := c.authority.RotateKey(c.context(), q.Use, c.client.ID); err != nil {
		return err
	}
	return c.listKeys()
}

type clientList struct {
	Clients []rescind.Client `json:"clients"`
}

// shown is a client without the hash of its secret.
func shown(cl *rescind.Client) rescind.Client {
	v := *cl
	v.SecretHash = nil
	return v
}

func (c *call) listClients() error {
	clients, err := c.authority.Clients(c.context())
	if err != nil {
		return err
	}
	list := clientList{make([]rescind.Client, 0, len(clients))}
	for _, cl := range clients {
		list.Clients = append(list.Clients, shown(cl))
	}
	return c.json(http.StatusOK, list)
}

type clientRequest struct {
	ID          string              `json:"id" maxLength:"64"`
	Name        string              `json:"name,omitempty" maxLength:"255"`
	Public      bool                `json:"public,omitempty" description:"It has no secret and no role."`
	Roles       []rescind.Role      `json:"roles,omitempty"`
	Audiences   []string            `json:"audiences,omitempty" description:"Those it may check; default: the server's own."`
	IssuesFor   []string            `json:"issues_for,omitempty" description:"Other clients whose sessions it may create, list and show with the role issue: the backend of a public client."`
	Format      rescind.TokenFormat `json:"access_token_format,omitempty" enum:"jwt,opaque"`
	Strict      bool                `json:"strict,omitempty" description:"No grace window for a repeated refresh."`
	Grace       rescind.Duration    `json:"grace,omitempty" description:"As in 10s."`
	NoLogoutAll bool                `json:"no_logout_all,omitempty"`
	Secret      rescind.Secret      `json:"secret,omitempty" description:"Default: the server makes one."`
	Replace     bool                `json:"replace,omitempty" description:"Changes a client that exists; its sessions stay."`
}

// clientCreated shows a secret that the server has made, this once.
type clientCreated struct {
	Client rescind.Client `json:"client"`
	Secret rescind.Secret `json:"client_secret,omitempty" description:"Shown once, if the server has made it."`
}

func (c *call) addClient() error {
	var q clientRequest
	if err := c.decode(&q, false); err != nil {
		return err
	}
	cl := rescind.Client{
		ID: q.ID, Name: q.Name, Public: q.Public, Roles: q.Roles, Audiences: q.Audiences, IssuesFor: q.IssuesFor, Format: q.Format,
		Strict: q.Strict, Grace: q.Grace, NoLogoutAll: q.NoLogoutAll,
	}
	var made rescind.Secret
	secret := q.Secret
	if secret == "" && !q.Public {
		made = rescind.NewSecret()
		secret = made
	}
	if secret != "" {
		if err := cl.SetSecret(secret.Reveal()); err != nil {
			return err
		}
	}
	stored, err := c.authority.AddClient(c.context(), cl, q.Replace, c.client.ID)
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, clientCreated{shown(&stored), made})
}

type clientPath struct {
	ID string `path:"id"`
}

func (c *call) removeClient() error {
	receipt, err := c.authority.RemoveClient(c.context(), c.param, c.client.ID)
	c.metrics.revoked("client", err)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, receipt)
}

type erasureRequest struct {
	Subject string `json:"subject" maxLength:"255"`
}

type erased struct {
	Sessions int `json:"sessions"`
	Events   int `json:"events"`
}

func (c *call) erase() error {
	var q erasureRequest
	if err := c.decode(&q, false); err != nil {
		return err
	}
	if err := c.unhurried(); err != nil {
		return err
	}
	sum, err := c.authority.Erase(c.context(), q.Subject, c.client.ID)
	c.metrics.revoked("subject", err)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, erased{sum.Sessions, sum.Events})
}

// backup streams the archive. If it fails half-way the connection is cut, so that
// what arrived cannot be taken for all of it.
func (c *call) backup() error {
	if err := c.unhurried(); err != nil {
		return err
	}
	to := &archive{c: c}
	err := c.authority.Backup(c.context(), to)
	if err != nil && c.status != 0 {
		c.fail(err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// archive begins the answer with the first byte, so that a backup that fails
// before is answered like any other failure.
type archive struct{ c *call }

// writePause is how long the reader of a backup may not read.
const writePause = 30 * time.Second

func (a *archive) Write(b []byte) (int, error) {
	if a.c.status == 0 {
		a.c.w.Header().Set("Content-Disposition", `attachment; filename="rescind-backup.tar"`)
		a.c.begin(http.StatusOK, []string{"application/x-tar"})
	}
	if err := supported(a.c.control().SetWriteDeadline(time.Now().Add(writePause))); err != nil {
		return 0, err
	}
	return a.c.w.Write(b)
}

// unhurried lifts the server's time-outs from a call whose work has no bound.
func (c *call) unhurried() error {
	if err := supported(c.control().SetReadDeadline(time.Time{})); err != nil {
		return err
	}
	return supported(c.control().SetWriteDeadline(time.Time{}))
}
