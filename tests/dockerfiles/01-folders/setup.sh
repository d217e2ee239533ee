mkdir -p app/nested/deep
echo main > app/main.conf
echo n > app/nested/n
echo d > app/nested/deep/d
chmod 711 app
chmod 2750 app/nested
chmod 600 app/main.conf
