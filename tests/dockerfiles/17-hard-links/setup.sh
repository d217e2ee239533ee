mkdir -p linked/sub
echo x > linked/one
ln linked/one linked/two
ln linked/one linked/sub/three
