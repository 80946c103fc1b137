import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.HexFormat;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

/** The JDK's HttpServer. */
class Origin {
    static final Pattern MARK = Pattern.compile("/([msp]/\\d+)");

    static String quoted(String text) {
        var out = new StringBuilder("\"");
        for (char c : text.toCharArray()) out.append(String.format("\\u%04x", (int) c));
        return out.append('"').toString();
    }

    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 512);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            String target = exchange.getRequestURI().toString();
            synchronized (Origin.class) {
                System.out.println("{\"method\":" + quoted(exchange.getRequestMethod()) + ",\"target\":"
                    + quoted(target) + ",\"body\":\"" + HexFormat.of().formatHex(body) + "\"}");
            }
            var found = MARK.matcher(target);
            exchange.getResponseHeaders().set("X-Mark", found.find() ? found.group(1) : "none");
            boolean head = exchange.getRequestMethod().equals("HEAD");
            exchange.sendResponseHeaders(200, head ? -1 : 2);
            if (!head) exchange.getResponseBody().write("ok".getBytes());
            exchange.close();
        });
        server.start();
        System.out.println("ready port=" + server.getAddress().getPort());
    }
}
