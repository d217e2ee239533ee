echo x > file
setcap cap_net_raw+ep file
tar --xattrs --xattrs-include='security.*' -cf caps.tar file
