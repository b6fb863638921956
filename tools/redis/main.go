// Program redis is the cache Argo CD wants, for tests: the Redis protocol on 127.0.0.1, nothing on disk.
//
// The store is miniredis, whose keys expire only when it is told that time passed; this program tells it.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	port := flag.String("port", "6379", "port of 127.0.0.1 to listen on")
	flag.Parse()
	store := miniredis.NewMiniRedis()
	if err := store.StartAddr("127.0.0.1:" + *port); err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
	fmt.Println("listening on", store.Addr())
	last := time.Now()
	for now := range time.Tick(200 * time.Millisecond) {
		store.FastForward(now.Sub(last))
		last = now
	}
}
