// Go's net/http.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

var mark = regexp.MustCompile(`/([msp]/\d+)`)
var asked = regexp.MustCompile(`/answer/([a-z0-9-]+)`)
var pieces = []string{"one", strings.Repeat("two ", 300), "three"}

// All that the application saw.
func seen(r *http.Request, body []byte) []byte {
	lines := []string{}
	for _, fields := range []http.Header{r.Header, r.Trailer} {
		for name, values := range fields {
			for _, value := range values {
				lines = append(lines, name+": "+value)
			}
		}
	}
	sort.Strings(lines)
	lines = append(lines, r.Method, r.RequestURI, r.Proto, r.Host, fmt.Sprint(r.ContentLength, r.TransferEncoding, r.Close))
	return []byte(strings.Join(append(lines, fmt.Sprintf("%x", sha256.Sum256(body))), "\n"))
}

// What a target `/answer/KIND` asks for; `echo` tells all that the application saw.
func particular(kind string, w http.ResponseWriter, r *http.Request, body []byte) {
	status, said := 200, seen(r, body)
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	switch kind {
	case "201":
		header.Set("Location", "/made/1")
		status = 201
	case "404", "500":
		status, _ = strconv.Atoi(kind)
	case "204", "304":
		status, _ = strconv.Atoi(kind)
		header.Set("ETag", `"x"`)
		w.WriteHeader(status)
		return
	case "gzip":
		header.Set("Content-Encoding", "gzip")
		said, _ = hex.DecodeString("1f8b08000000000002034b4c4fcccc5348cc4b514844650100363de8bb19000000")
	case "cookies":
		for _, cookie := range []string{"a=1; Path=/", `b="2"; Secure`, "c="} {
			header.Add("Set-Cookie", cookie)
		}
	case "large":
		said = large
	case "empty":
		said = nil
	case "peer":
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		said = []byte(host)
	case "close":
		header.Set("Connection", "close")
	case "early":
		header.Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
	case "fields":
		for i := 0; i < 60; i++ {
			header.Set(fmt.Sprintf("X-F-%d", i), fmt.Sprint(i))
		}
		header.Set("X-Long", strings.Repeat("v", 4000))
		header.Set("X-Empty", "")
		header["x-lower"] = []string{"\xe9"}
	case "large-pieces":
		for at := 0; at < len(large); at += 1 << 16 {
			w.Write(large[at : at+1<<16])
			w.(http.Flusher).Flush()
		}
		return
	case "pieces", "slow", "sized-slow", "trailers":
		if kind == "sized-slow" {
			header.Set("Content-Length", fmt.Sprint(len(strings.Join(pieces, ""))))
		}
		if kind == "trailers" {
			header.Set("Trailer", "X-Sum")
		}
		for _, piece := range pieces {
			io.WriteString(w, piece)
			w.(http.Flusher).Flush()
			if strings.Contains(kind, "slow") {
				time.Sleep(15 * time.Millisecond)
			}
		}
		header.Set("X-Sum", "1")
		return
	}
	header.Set("Content-Length", fmt.Sprint(len(said)))
	w.WriteHeader(status)
	w.Write(said)
}

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
	if found := asked.FindStringSubmatch(r.RequestURI); found != nil {
		particular(found[1], w, r, body)
		return
	}
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
