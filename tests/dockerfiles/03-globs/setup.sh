for name in a.txt b.txt c.md ab.txt .hidden dir/x.txt dir2/y.txt dir2/z.md; do mkdir -p $(dirname $name); echo $name > $name; done
