mkdir -p in/sub
echo a > in/a
ln in/a in/hard
ln -s a in/soft
chmod 4755 in/a
chmod 700 in/sub
echo b > in/sub/b
echo x > file
tar --owner=5 --group=6 -cf plain.tar -C in .
tar --owner=7 --group=8 -czf packed.tar.gz -C in .
tar --owner=7 --group=8 -cJf packed.tar.xz -C in a sub
tar --owner=7 --group=8 -cjf packed.tar.bz2 -C in sub/b
