using Tidemark.Backup.Domains;

namespace Tidemark.Backup.Tests.Domains;

public sealed class NbdClientsTests
{
    private static readonly string[] s_unix =
    [
        "Num       RefCount Protocol Flags    Type St Inode Path",
        "0000000000000000: 00000002 00000000 00010000 0001 01 37613 /srv/pull.sock",
        "0000000000000000: 00000003 00000000 00000000 0001 03 37614 /srv/pull.sock",
        "0000000000000000: 00000003 00000000 00000000 0001 03 37615",
        "0000000000000000: 00000002 00000000 00010000 0001 01 37616 /srv/other.sock",
    ];

    private static readonly string[] s_tcp =
    [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        "   0: 0100007F:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1",
        "   1: 0100007F:2A39 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1",
        "   2: 0100007F:D431 0100007F:2A39 01 00000000:00000000 00:00000000 00000000     0        0 3 1",
    ];

    [Fact]
    public void Connections_that_the_server_accepted_are_counted()
    {
        Assert.Equal(1, NbdClients.CountUnix(s_unix, "/srv/pull.sock"));
        Assert.Equal(0, NbdClients.CountUnix(s_unix, "/srv/other.sock"));
        Assert.Equal(1, NbdClients.CountTcp(s_tcp, 0x2A39));
    }

    [Fact]
    public void A_server_that_is_not_here_has_no_number()
    {
        Assert.Null(NbdClients.CountUnix(s_unix, "/srv/none.sock"));
        Assert.Null(NbdClients.CountTcp(s_tcp, 1));
    }
}
