import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

/** The JDK's HttpServer. */
class Origin {
    static final Pattern MARK = Pattern.compile("/([msp]/\\d+)");
    static final Pattern ASKED = Pattern.compile("/answer/([a-z0-9-]+)");
    static final byte[] GZIP = HexFormat.of().parseHex("1f8b08000000000002034b4c4fcccc5348cc4b514844650100363de8bb19000000");
    static final List<String> PIECES = List.of("one", "two ".repeat(300), "three");

    static String quoted(String text) {
        var out = new StringBuilder("\"");
        for (char c : text.toCharArray()) out.append(String.format("\\u%04x", (int) c));
        return out.append('"').toString();
    }

    /** All that the application saw. */
    static byte[] seen(HttpExchange exchange, String target, byte[] body) throws Exception {
        var lines = new ArrayList<String>(List.of(exchange.getRequestMethod(), target, exchange.getProtocol()));
        new TreeMap<>(exchange.getRequestHeaders()).forEach((name, values) -> lines.add(name + ": " + values));
        lines.add(body.length + " " + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body)));
        return String.join("\n", lines).getBytes(StandardCharsets.ISO_8859_1);
    }

    /** What a target `/answer/KIND` asks for; `echo` tells all that the application saw. */
    static void particular(String kind, HttpExchange exchange, byte[] said) throws Exception {
        var headers = exchange.getResponseHeaders();
        headers.set("Content-Type", "text/plain");
        int status = kind.matches("201|204|304|404|500") ? Integer.parseInt(kind) : 200;
        long length = said.length;
        List<byte[]> pieces = List.of(said);
        switch (kind) {
            case "201" -> headers.set("Location", "/made/1");
            case "204", "304" -> pieces = List.of();
            case "gzip" -> { headers.set("Content-Encoding", "gzip"); pieces = List.of(GZIP); }
            case "cookies" -> headers.put("Set-Cookie", List.of("a=1; Path=/", "b=\"2\"; Secure", "c="));
            case "large", "large-pieces" -> {
                var large = new byte[1 << 16];
                for (int i = 0; i < large.length; i++) large[i] = (byte) i;
                pieces = java.util.Collections.nCopies(16, large);
            }
            case "empty" -> pieces = List.of();
            case "peer" -> pieces = List.of(exchange.getRemoteAddress().getAddress().getHostAddress().getBytes());
            case "close" -> headers.set("Connection", "close");
            case "fields" -> {
                for (int i = 0; i < 60; i++) headers.set("X-F-" + i, "" + i);
                headers.set("X-Long", "v".repeat(4000));
                headers.set("X-Empty", "");
            }
            case "pieces", "slow", "sized-slow", "trailers" -> pieces = PIECES.stream().map(String::getBytes).toList();
            default -> { }
        }
        boolean head = exchange.getRequestMethod().equals("HEAD");
        boolean sized = !kind.matches("pieces|slow|trailers|large-pieces");
        length = pieces.stream().mapToLong(piece -> piece.length).sum();
        // To this server, 0 is a length that is not known.
        exchange.sendResponseHeaders(status, head || length == 0 ? -1 : sized ? length : 0);
        if (!head) for (byte[] piece : pieces) {
            exchange.getResponseBody().write(piece);
            if (!sized || kind.contains("slow")) exchange.getResponseBody().flush();
            if (kind.contains("slow")) Thread.sleep(15);
        }
        exchange.close();
    }

    static void answer(HttpExchange exchange) throws Exception {
        byte[] body = exchange.getRequestBody().readAllBytes();
        String target = exchange.getRequestURI().toString();
        synchronized (Origin.class) {
            System.out.println("{\"method\":" + quoted(exchange.getRequestMethod()) + ",\"target\":"
                + quoted(target) + ",\"body\":\"" + HexFormat.of().formatHex(body) + "\"}");
        }
        var asked = ASKED.matcher(target);
        if (asked.find()) {
            particular(asked.group(1), exchange, seen(exchange, target, body));
            return;
        }
        var found = MARK.matcher(target);
        exchange.getResponseHeaders().set("X-Mark", found.find() ? found.group(1) : "none");
        boolean head = exchange.getRequestMethod().equals("HEAD");
        exchange.sendResponseHeaders(200, head ? -1 : 2);
        if (!head) exchange.getResponseBody().write("ok".getBytes());
        exchange.close();
    }

    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 512);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            try {
                answer(exchange);
            } catch (IOException | RuntimeException e) {
                throw e;
            } catch (Exception e) {
                throw new IOException(e);
            }
        });
        server.start();
        System.out.println("ready port=" + server.getAddress().getPort());
    }
}
