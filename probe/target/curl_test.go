package target

import (
	"strings"
	"testing"
)

const curlScript = `
BASE=http://localhost:3000
TOKEN=$(curl -s -X POST "$BASE/api/login" -H 'Content-Type: application/json' -d '{"email":"ada@example.org","password":"correct horse"}' | jq -r .access_token)
curl "$BASE/api/me" -H "Authorization: Bearer $TOKEN"
curl 'http://localhost:3000/api/notes?limit=10' \
  -H 'Accept: application/json' \
  -H 'Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl' \
  -H 'User-Agent: Mozilla/5.0' --compressed
curl -X POST $BASE/api/token/refresh --json '{"refresh_token":"rt_0123456789abcdef0123"}'
curl -X POST $BASE/api/logout -H "Authorization: Bearer $TOKEN" --data-raw $'{"refresh_token":"rt_0123456789abcdef0123","why":"it\u0027s over"}'
`

func TestCurlCommandsBecomeADescription(t *testing.T) {
	d, err := FromCurl([]byte(curlScript), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Marshal(d.Target)
	t.Logf("%s%v\n%s", b, err, strings.Join(d.Remarks, "\n"))
}
