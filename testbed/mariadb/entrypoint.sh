#!/bin/sh
# The first start makes MARIADB_DATABASE and MARIADB_USER with its password; nothing listens before
# they are there. Arguments are mariadbd and its options.
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p /var/lib/mysql /run/mysqld
    chown mysql: /var/lib/mysql /run/mysqld
    exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "$@"
fi
if [ ! -d /var/lib/mysql/mysql ]; then
    mariadb-install-db --skip-test-db --auth-root-authentication-method=socket \
        --auth-root-socket-user=mysql >/dev/null
    mariadbd --bootstrap <<SQL
FLUSH PRIVILEGES;
CREATE DATABASE \`$MARIADB_DATABASE\`;
CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '${MARIADB_PASSWORD:?set MARIADB_PASSWORD}';
GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';
SQL
fi
exec "$@" --bind-address=0.0.0.0 --skip-name-resolve
