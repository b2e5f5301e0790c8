package browser

import (
	"testing"
)

func TestLogoutInOneWindowIsSeenInTheOther(t *testing.T) {
	a, chromium := startApp(t), startChromium(t)
	ada := newProfile(t, chromium)
	one := ada.open(t, a.at(home, "/"))
	one.login("ada", "lovelace")
	one.keep("a secret of ada's")
	two := ada.open(t, a.at(home, "/"))
	two.untilIn("ada")
	for name, c := range ada.cookies(t) {
		t.Logf("%s %+v", name, c)
	}
	one.click("#logout")
	t.Logf("the other window knows after %v", two.untilOut())
}
