using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Describing;

namespace Tidemark.Cli.Images;

/// <summary><c>image info</c>.</summary>
internal sealed class InfoVerb : ImageVerb
{
    private readonly Argument<string> _file;
    private readonly Option<string?> _format;
    private readonly Option<bool> _chain;

    /// <summary>Creates the verb.</summary>
    public InfoVerb(CommandConsole console)
        : base(console, "info", "Describe an image: size, format, backing file, snapshots, bitmaps.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "A path, an NBD URI or a json: name." });
        _format = AddFormat();
        AddImageOptions();
        _chain = Add(new Option<bool>("--backing-chain") { Description = "Describe the images below it too." });
        AddOutput();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var chain = parsed.GetValue(_chain);
        var infos = await ImageInfo.ReadAsync(
            NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
            OpenOptions(parsed, parsed.GetValue(_format)),
            chain,
            cancellationToken);
        if (WantsJson(parsed))
        {
            WriteJson(chain ? infos.Select(info => info.ToDict()).ToList<object>() : infos[0].ToDict());
        }
        else
        {
            Console.Output.Write(string.Join('\n', infos.Select(info => info.ToText())));
        }

        foreach (var problem in infos.SelectMany(info => info.Problems))
        {
            Console.WriteWarning(problem);
        }

        return ExitCode.Success;
    }
}
