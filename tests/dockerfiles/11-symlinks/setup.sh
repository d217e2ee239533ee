mkdir -p root/real links dir
echo old > root/real/target
ln -s real root/dirlink
ln -s /real/target root/filelink
echo x > file
ln -s file tofile
ln -s dir todir
echo y > dir/y
ln -s ../file links/relative
ln -s /nowhere links/dangling
ln -s y dir/inner
