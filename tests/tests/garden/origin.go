// Go's net/http.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
)

var mark = regexp.MustCompile(`[msp]/\d+`)

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
	line, _ := json.Marshal(map[string]string{
		"method": r.Method, "target": latin(r.RequestURI), "body": hex.EncodeToString(body)})
	os.Stdout.Write(append(line, '\n'))
	w.Header().Set("X-Mark", mark.FindString(r.RequestURI))
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
