// Go's net/http.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
)

var mark = regexp.MustCompile(`/([msp]/\d+)`)

func latin(text string) string {
	runes := make([]rune, 0, len(text))
	for _, b := range []byte(text) {
		runes = append(runes, rune(b))
	}
	return string(runes)
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(400)
		return
	}
	line := fmt.Sprintf(`{"method":%s,"target":%s,"body":"%x"}`,
		strconv.QuoteToASCII(r.Method), strconv.QuoteToASCII(latin(r.RequestURI)), body)
	os.Stdout.WriteString(line + "\n")
	if found := mark.FindStringSubmatch(r.RequestURI); found != nil {
		w.Header().Set("X-Mark", found[1])
	}
	w.Header().Set("Content-Length", "2")
	io.WriteString(w, "ok")
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	log.SetOutput(io.Discard)
	fmt.Printf("ready port=%d\n", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(answer)))
}
