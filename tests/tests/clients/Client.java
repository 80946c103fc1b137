import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** The JDK's HttpClient as it comes: each first request without TLS offers h2c. {@code Client CA URL…} */
public class Client {
    static SSLContext tls;

    /** A client for each call, so that each is the first of its connection. */
    static String call(String method, String url, String kind, BodyPublisher body) throws Exception {
        HttpClient client = url.startsWith("https:")
            ? HttpClient.newBuilder().sslContext(tls).build()
            : HttpClient.newHttpClient();
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url)).method(method, body);
        if (kind != null) {
            request.header("Content-Type", kind);
        }
        var answer = client.send(request.build(), BodyHandlers.ofString());
        return "[" + answer.statusCode() + "," + (answer.body().isEmpty() ? "null" : answer.body()) + "]";
    }

    public static void main(String[] args) throws Exception {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (var pem = Files.newInputStream(Path.of(args[0]))) {
            roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);

        byte[] file = new byte[300_000];
        Arrays.fill(file, (byte) 's');
        for (String url : Arrays.asList(args).subList(1, args.length)) {
            System.out.println("[" + String.join(",",
                call("GET", url + "/orders/1", null, BodyPublishers.noBody()),
                call("POST", url + "/orders", "application/json", BodyPublishers.ofString("{\"item\":\"tea\",\"n\":1}")),
                call("PUT", url + "/orders/1/file", "application/octet-stream",
                    BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(file))),
                call("POST", url + "/denied", "application/x-www-form-urlencoded", BodyPublishers.ofString("a=1&b=2")),
                call("DELETE", url + "/orders/1", null, BodyPublishers.noBody())) + "]");
        }
        System.exit(0);
    }
}
