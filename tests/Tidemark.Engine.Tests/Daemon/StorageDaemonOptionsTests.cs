using Tidemark.Engine.Daemon;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Daemon;

public sealed class StorageDaemonOptionsTests
{
    [Theory]
    [InlineData("driver=file,node-name=a,filename=/x", """{"driver":"file","node-name":"a","filename":"/x"}""")]
    [InlineData("file,filename=/a,,b", """{"driver":"file","filename":"/a,b"}""")]
    [InlineData(
        "driver=qcow2,file.driver=file,file.filename=x",
        """{"driver":"qcow2","file":{"driver":"file","filename":"x"}}""")]
    [InlineData("raw,a.0=x,a.1.b=y", """{"driver":"raw","a":["x",{"b":"y"}]}""")]
    [InlineData("""{"driver":"raw","size":5}""", """{"driver":"raw","size":5}""")]
    public void Options_are_read(string text, string expected) =>
        Assert.Equal(expected, KeyValueText.Parse(text, "driver").GetRawText());

    [Theory]
    [InlineData("a=1,b")]
    [InlineData("a=1,a.b=2")]
    [InlineData("a.b=1,a=2")]
    [InlineData("a..b=1")]
    [InlineData("a.0=1,a.2=2")]
    [InlineData("{\"a\":")]
    [InlineData("{\"a\":1,\"a\":2}")]
    public void Malformed_options_are_refused(string text) =>
        Assert.Throws<StorageDaemonException>(() => KeyValueText.Parse(text, "driver"));

    [Fact]
    public void Random_option_texts_are_read_or_refused() => TestSeed.Run(random =>
    {
        const string Letters = "ab01.=,{}\"[]: ";
        for (var round = 0; round < 5000; round++)
        {
            var text = new string(
                [.. Enumerable.Range(0, random.Next(30)).Select(_ => Letters[random.Next(Letters.Length)])]);
            try
            {
                KeyValueText.Parse(text, "driver");
            }
            catch (StorageDaemonException)
            {
                // The only exception that may come.
            }
        }
    });

    [Fact]
    public void The_order_of_the_options_is_kept()
    {
        var options = StorageDaemonOptions.Parse(
            ["--chardev", "socket,id=m,path=/m", "--blockdev=null-co,node-name=a", "--monitor", "m", "--pidfile",
                "/p"]);
        Assert.Equal(["chardev", "blockdev", "monitor"], options.Steps.Select(step => step.Option));
        Assert.Equal("/p", options.PidFile);
    }

    [Theory]
    [InlineData("--daemonize")]
    [InlineData("--object", "x")]
    [InlineData("--nonsense")]
    [InlineData("--blockdev")]
    [InlineData("stray")]
    public void What_is_not_supported_is_refused(params string[] arguments) =>
        Assert.Throws<StorageDaemonException>(() => StorageDaemonOptions.Parse(arguments));

    [Theory]
    [InlineData("socket,id=m,path=/a,server=on,wait=off", "/a", null, 0, false)]
    [InlineData("socket,id=m,path=/a,server,nowait", "/a", null, 0, false)]
    [InlineData("socket,id=m,host=127.0.0.1,port=4444,server=on", null, "127.0.0.1", 4444, true)]
    [InlineData("socket,id=m,port=4444,server=on", null, "localhost", 4444, true)]
    public void Chardevs_are_read(string text, string? path, string? host, int port, bool wait)
    {
        var chardev = ChardevOptions.Parse(text);
        Assert.Equal(
            ("m", path, host, port, wait), (chardev.Id, chardev.Path, chardev.Host, chardev.Port, chardev.Wait));
    }

    [Theory]
    [InlineData("file,id=m,path=/a")]
    [InlineData("socket,path=/a,server=on")]
    [InlineData("socket,id=m,path=/a")]
    [InlineData("socket,id=m,server=on")]
    [InlineData("socket,id=m,path=/a,port=5,server=on")]
    [InlineData("socket,id=m,path=/a,server=perhaps")]
    [InlineData("socket,id=m,path=/a,server=on,reconnect=5")]
    public void Other_chardevs_are_refused(string text) =>
        Assert.Throws<StorageDaemonException>(() => ChardevOptions.Parse(text));
}
