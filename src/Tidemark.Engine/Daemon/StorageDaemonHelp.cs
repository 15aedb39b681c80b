namespace Tidemark.Engine.Daemon;

/// <summary>The help of the storage daemon.</summary>
internal static class StorageDaemonHelp
{
    internal const string Text = """
        Usage: tidemark storage-daemon [options]
        A storage daemon with the options and the QMP commands of qemu-storage-daemon. Options are carried out in order.

          --blockdev [driver=]DRIVER,node-name=NAME[,read-only=on|off][,discard=ignore|unmap][,...]
                             add a node; DRIVER is file, raw, qcow2, nbd, copy-before-write, snapshot-access or null-co.
                             Members of a child are written with dots (file.driver=file,file.filename=PATH), or the whole
                             option as JSON
          --chardev socket,id=ID,path=PATH,server=on[,wait=on|off]
          --chardev socket,id=ID,port=PORT[,host=HOST],server=on[,wait=on|off]
                             a socket for a monitor; without a host it listens on localhost
          --monitor [chardev=]ID[,mode=control]
                             a QMP monitor on a socket; it serves one client at a time
          --nbd-server addr.type=unix,addr.path=PATH[,max-connections=N]
          --nbd-server addr.type=inet,addr.host=HOST,addr.port=PORT[,max-connections=N]
                             start the NBD server
          --export [type=]nbd,id=ID,node-name=NODE[,name=NAME][,writable=on|off][,description=TEXT][,bitmaps.0=BITMAP...]
                             export a node
          --pidfile PATH     write the process id there once everything is set up
          -h, --help         this help
          -V, --version      the version

        It ends at QMP's quit, and at SIGTERM, SIGINT and SIGHUP, and then stores persistent bitmaps. The exit code is 0 only
        when all of it worked.
        """;
}
