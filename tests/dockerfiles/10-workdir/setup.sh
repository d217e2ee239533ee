mkdir -p root/real
ln -s real root/link
echo x > file
