mkdir bin
for name in suid sgid sticky none; do echo x > bin/$name; done
chmod 4755 bin/suid
chmod 2711 bin/sgid
chmod 1644 bin/sticky
chmod 0 bin/none
