using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>URIs as doc/uri.md of the NBD project has them.</summary>
public sealed class NbdUriTests
{
    [Theory]
    [InlineData("nbd://example.com/disk", "example.com:10809", "disk")]
    [InlineData("NBD://example.com", "example.com:10809", "")]
    [InlineData("nbd://example.com/", "example.com:10809", "")]
    [InlineData("nbd://example.com//disk", "example.com:10809", "/disk")]
    [InlineData("nbd://example.com:1234/hello%20world", "example.com:1234", "hello world")]
    [InlineData("nbd://[::1]:99/a?", "[::1]:99", "a")]
    [InlineData("nbd://[fe80::1]/", "[fe80::1]:10809", "")]
    [InlineData("nbd:///a", "localhost:10809", "a")]
    [InlineData("nbd+unix:///disk?socket=sock", "sock", "disk")]
    [InlineData("nbd+unix:///?socket=/tmp/a%20b%3F.sock", "/tmp/a b?.sock", "")]
    [InlineData("nbd+unix://?socket=s", "s", "")]
    [InlineData("nbd+unix:///%D0%B4?socket=s", "s", "д")]
    public void A_uri_names_an_end_point_and_an_export(string text, string endPoint, string export)
    {
        var uri = NbdUri.Parse(text);
        Assert.Equal(endPoint, uri.EndPoint.ToString());
        Assert.Equal(export, uri.ExportName);
        Assert.Equal(uri, NbdUri.Parse(uri.ToString()));
    }

    [Theory]
    [InlineData("disk.raw", BlockErrorKind.Invalid)]
    [InlineData("http://example.com/", BlockErrorKind.Invalid)]
    [InlineData("nbd://example.com/di\0sk", BlockErrorKind.Invalid)]
    [InlineData("nbd://[s+unbnbds:]/", BlockErrorKind.Invalid)]
    [InlineData("nbd://a%5Db/", BlockErrorKind.Invalid)]
    [InlineData("nbd+vsock://2/", BlockErrorKind.NotSupported)]
    [InlineData("nbd://alice@example.com/", BlockErrorKind.Invalid)]
    [InlineData("nbds://a:b@example.com/?tls-psk-file=/f", BlockErrorKind.Invalid)]
    [InlineData("nbds://@example.com/?tls-psk-file=/f", BlockErrorKind.Invalid)]
    [InlineData("nbds://example.com/?tls-type=psk", BlockErrorKind.Invalid)]
    [InlineData("nbds://example.com/?tls-psk-file=/f&tls-type=x509", BlockErrorKind.Invalid)]
    [InlineData("nbds://example.com/?tls-psk-file=/f&tls-certificates=/c", BlockErrorKind.Invalid)]
    [InlineData("nbds://example.com/?tls-type=anon", BlockErrorKind.NotSupported)]
    [InlineData("nbds://example.com/?tls-type=x", BlockErrorKind.Invalid)]
    [InlineData("nbds://example.com/?tls-verify-peer=yes", BlockErrorKind.Invalid)]
    [InlineData("nbd://example.com/?x-y=1", BlockErrorKind.NotSupported)]
    [InlineData("nbd+unix:///?socket=%00abstract", BlockErrorKind.Invalid)]
    [InlineData("nbd+unix:///a", BlockErrorKind.Invalid)]
    [InlineData("nbd+unix:///a?socket=", BlockErrorKind.Invalid)]
    [InlineData("nbd+unix:///a?socket=a&socket=b", BlockErrorKind.Invalid)]
    [InlineData("nbd+unix://host/a?socket=s", BlockErrorKind.Invalid)]
    [InlineData("nbd://example.com/a?socket=s", BlockErrorKind.Invalid)]
    [InlineData("nbd://example.com:0/", BlockErrorKind.Invalid)]
    [InlineData("nbd://example.com:70000/", BlockErrorKind.Invalid)]
    [InlineData("nbd://example.com:+1/", BlockErrorKind.Invalid)]
    [InlineData("nbd://[::1/", BlockErrorKind.Invalid)]
    [InlineData("nbd://h/%zz", BlockErrorKind.Invalid)]
    [InlineData("nbd://h/%4", BlockErrorKind.Invalid)]
    [InlineData("nbd://h/%00", BlockErrorKind.Invalid)]
    [InlineData("nbd://h/%C3%28", BlockErrorKind.Invalid)]
    [InlineData("nbd://h/a#b", BlockErrorKind.Invalid)]
    public void What_is_none_or_not_supported_is_refused(string text, BlockErrorKind kind) =>
        Assert.Equal(kind, Assert.Throws<NbdException>(() => NbdUri.Parse(text)).Kind);

    [Theory]
    [InlineData("nbds://alice%20b@h/d?tls-psk-file=/k%20f", NbdTlsMode.Require, "alice b")]
    [InlineData("nbds+unix://alice@/d?socket=s&tls-type=psk&tls-psk-file=/k%20f", NbdTlsMode.Require, "alice")]
    [InlineData("nbd://h/d?tls-psk-file=/k%20f", NbdTlsMode.Allow, null)]
    public void A_uri_names_a_user_and_the_file_of_keys(string text, NbdTlsMode mode, string? user)
    {
        var uri = NbdUri.Parse(text);
        Assert.Equal((mode, "/k f", user), (uri.Tls, uri.TlsKeys, uri.TlsUser));
        Assert.Equal("d", uri.ExportName);
        Assert.Equal(uri, NbdUri.Parse(uri.ToString()));
    }

    [Theory]
    [InlineData("nbd://h/", NbdTlsMode.Disable, null, null, true)]
    [InlineData("nbds://h/", NbdTlsMode.Require, null, null, true)]
    [InlineData("NBDS://h/?tls-type=x509", NbdTlsMode.Require, null, null, true)]
    [InlineData("nbd://h/?tls-type=x509", NbdTlsMode.Allow, null, null, true)]
    [InlineData("nbd://h/?tls-certificates=/etc/a%20b", NbdTlsMode.Allow, "/etc/a b", null, true)]
    [InlineData("nbds+unix:///d?socket=s&tls-hostname=h.example&tls-verify-peer=0", NbdTlsMode.Require, null,
        "h.example", false)]
    public void A_uri_says_how_to_encrypt(
        string text, NbdTlsMode mode, string? certificates, string? hostName, bool verify)
    {
        var uri = NbdUri.Parse(text);
        Assert.Equal(mode, uri.Tls);
        Assert.Equal(certificates, uri.TlsCertificates);
        Assert.Equal(hostName, uri.TlsHostName);
        Assert.Equal(verify, uri.TlsVerifyPeer);
        Assert.Equal(uri, NbdUri.Parse(uri.ToString()));
    }

    [Fact]
    public void A_socket_path_must_fit_into_an_address()
    {
        NbdEndPoint.ForUnix(new string('a', 107));
        Assert.Throws<NbdException>(() => NbdEndPoint.ForUnix(new string('a', 108)));
    }
}
