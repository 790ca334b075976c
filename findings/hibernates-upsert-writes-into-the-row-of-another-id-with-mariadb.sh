#!/usr/bin/env bash
# Hibernate ORM 7.4.15 with Connector/J 3.5.11 and MariaDB 10.11.19: StatelessSession.upsert() of a new entity, of which
# a unique column has a value that another row has, changes that other row, and says nothing.
#
# One would expect what its documentation says: the row is inserted if it does not exist, and else updated; a row is
# found by its id, as everywhere in JPA. So an entity with a new id and an email that is taken should be refused, as it
# is with H2, whose MERGE looks at the id. With MariaDB, and MySQL by the same code, it becomes INSERT ... ON DUPLICATE
# KEY UPDATE, where any unique key will do: all columns but the id of that row are written, Carl's into Ann's, whose
# name, password and rights are Carl's from then on, and there is no row with Carl's id, to which others may refer next.
# upsertMultiple() does the same. An entity with @Version, or with @DynamicUpdate, is not written in this way, but by
# UPDATE and INSERT, and is refused; so is one whose own id is there already, by the other row's key. Tests on H2 see an
# error. What helps is one of the two annotations.
#
# Seen, ann is 1 and bob 2, "carl" is 3 with ann's email: MariaDB: upsert() and upsertMultiple() do as asked, and then 1
# is carl, with ann's email, and 3 is not there; "bob" is 2 with ann's email: refused; with @DynamicUpdate, with
# @Version, and with insert(): refused, and ann is ann. H2: all refused.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3, Maven and Java 17.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>show</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.hibernate.orm</groupId><artifactId>hibernate-core</artifactId><version>7.4.15.Final</version>
    </dependency>
    <dependency>
      <groupId>org.mariadb.jdbc</groupId><artifactId>mariadb-java-client</artifactId><version>3.5.11</version>
    </dependency>
    <dependency>
      <groupId>com.h2database</groupId><artifactId>h2</artifactId><version>2.3.232</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$folder/jars" >maven.log 2>&1 || { cat maven.log; exit 2; }
cat >Show.java <<'JAVA'
import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.MappedSuperclass;
import jakarta.persistence.Version;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import org.hibernate.SessionFactory;
import org.hibernate.StaleStateException;
import org.hibernate.StatelessSession;
import org.hibernate.annotations.DynamicUpdate;
import org.hibernate.cfg.Configuration;
import org.hibernate.exception.ConstraintViolationException;

public class Show {
    @MappedSuperclass
    public static class User {
        @Id
        public Integer id;

        @Column(unique = true, length = 20)
        public String email;

        public String name;

        public User with(int id, String email, String name) {
            this.id = id;
            this.email = email;
            this.name = name;
            return this;
        }
    }

    @Entity(name = "Plain")
    public static class Plain extends User {}

    @Entity(name = "WithDynamicUpdate")
    @DynamicUpdate
    public static class WithDynamicUpdate extends User {}

    @Entity(name = "WithVersion")
    public static class WithVersion extends User {
        @Version
        public Integer version;
    }

    static User made(Class<? extends User> kind) {
        try {
            return kind.getConstructor().newInstance();
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    /** What is said of the writing of one more user, and who is there after it. */
    static String written(
            SessionFactory factory, Class<? extends User> kind, User user, BiConsumer<StatelessSession, User> how) {
        factory.getSchemaManager().truncateMappedObjects();
        factory.inStatelessTransaction(session -> {
            session.insert(made(kind).with(1, "ann@x", "ann"));
            session.insert(made(kind).with(2, "bob@x", "bob"));
        });
        String said = "done";
        try {
            factory.inStatelessTransaction(session -> how.accept(session, user));
        } catch (ConstraintViolationException | StaleStateException error) {
            said = "refused";
        }
        var all = "from " + kind.getSimpleName() + " order by id";
        var users = factory.fromStatelessTransaction(
                session -> session.createSelectionQuery(all, kind).getResultList());
        var rows = users.stream().map(each -> each.id + " " + each.email + " " + each.name).toList();
        return said + ": " + String.join(", ", rows);
    }

    static Map<String, String> seen(String url) {
        var configuration = new Configuration()
                .addAnnotatedClass(Plain.class)
                .addAnnotatedClass(WithDynamicUpdate.class)
                .addAnnotatedClass(WithVersion.class)
                .setProperty("hibernate.connection.url", url)
                .setProperty("hibernate.connection.username", "root")
                .setProperty("hibernate.connection.password", "")
                .setProperty("hibernate.hbm2ddl.auto", "create");
        BiConsumer<StatelessSession, User> upsert = StatelessSession::upsert;
        BiConsumer<StatelessSession, User> several = (session, user) -> session.upsertMultiple(List.of(user));
        BiConsumer<StatelessSession, User> insert = StatelessSession::insert;
        var results = new LinkedHashMap<String, String>();
        try (var factory = configuration.buildSessionFactory()) {
            String email = "ann@x";
            results.put("upsert", written(factory, Plain.class, new Plain().with(3, email, "carl"), upsert));
            results.put("upsertMultiple", written(factory, Plain.class, new Plain().with(3, email, "carl"), several));
            results.put("insert", written(factory, Plain.class, new Plain().with(3, email, "carl"), insert));
            results.put("upsert of 2", written(factory, Plain.class, new Plain().with(2, email, "bob"), upsert));
            for (var kind : List.of(WithDynamicUpdate.class, WithVersion.class)) {
                var carl = made(kind).with(3, email, "carl");
                results.put("upsert " + kind.getSimpleName(), written(factory, kind, carl, upsert));
            }
        }
        System.out.println(url.split(":")[1]);
        results.forEach((name, result) -> System.out.println("  " + name + ": " + result));
        return results;
    }

    public static void main(String[] arguments) {
        var refused = "refused: 1 ann@x ann, 2 bob@x bob";
        var overwritten = "done: 1 ann@x carl, 2 bob@x bob";
        var onMariadb = seen("jdbc:mariadb://127.0.0.1:" + arguments[0] + "/d");
        boolean asStated = onMariadb.remove("upsert").equals(overwritten)
                && onMariadb.remove("upsertMultiple").equals(overwritten)
                && onMariadb.values().stream().allMatch(refused::equals)
                && seen("jdbc:h2:mem:d").values().stream().allMatch(refused::equals);
        System.exit(asStated ? 0 : 1);
    }
}
JAVA
javac -cp "jars/*" Show.java
mkdir data
# Below the ports that the system gives to outgoing connections, so that it is not taken before the server has it.
port=$(python3 -c 'import random; print(random.randrange(20000, 32000))')
echo 'CREATE DATABASE d;' >init.sql
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" --init-file="$folder/init.sql" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --bind-address=127.0.0.1 \
    --port="$port" --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
java -cp "jars/*:." Show "$port" 2>java.log || { tail -30 java.log; exit 1; }
