// Go's net/http: `client 1|2 CA URL…`; 2: as it agrees to with a server that offers HTTP/2.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func call(client *http.Client, method, url, kind string, body io.Reader) [2]any {
	request := must(http.NewRequest(method, url, body))
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer := must(client.Do(request))
	defer answer.Body.Close()
	text := must(io.ReadAll(answer.Body))
	var seen any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &seen); err != nil {
			panic(err)
		}
	}
	return [2]any{answer.StatusCode, seen}
}

func main() {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(os.Args[2])))
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: os.Args[1] == "2",
	}}
	for _, url := range os.Args[3:] {
		// A reader without a length: chunked.
		file := io.MultiReader(strings.NewReader(strings.Repeat("s", 300_000)))
		json.NewEncoder(os.Stdout).Encode([][2]any{
			call(client, "GET", url+"/orders/1", "", nil),
			call(client, "POST", url+"/orders", "application/json", strings.NewReader(`{"item":"tea","n":1}`)),
			call(client, "PUT", url+"/orders/1/file", "application/octet-stream", file),
			call(client, "POST", url+"/denied", "application/x-www-form-urlencoded", strings.NewReader("a=1&b=2")),
			call(client, "DELETE", url+"/orders/1", "", nil),
		})
	}
}
