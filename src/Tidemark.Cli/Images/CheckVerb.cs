using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Checking;
using Tidemark.Qcow2.Checking;

namespace Tidemark.Cli.Images;

/// <summary><c>image check</c>.</summary>
internal sealed class CheckVerb : ImageVerb
{
    private const int NotSupported = 63;

    private readonly Argument<string> _file;
    private readonly Option<string?> _format;
    private readonly Option<string?> _repair;

    /// <summary>Creates the verb.</summary>
    public CheckVerb(CommandConsole console)
        : base(
            console,
            "check",
            "Look for contradictions in an image, and repair them. Exit code: 0 clean, 1 the check failed, "
            + "2 corruptions, 3 leaks only, 63 the format has nothing to check.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "A path, an NBD URI or a json: name." });
        _format = AddFormat();
        AddImageOptions();
        _repair = AddText("--repair", "-r", "leaks|all", "Repair what wastes space only, or everything.");
        _repair.AcceptOnlyFromAmong("leaks", "all");
        AddOutput();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var repair = parsed.GetValue(_repair) switch
        {
            "leaks" => Qcow2Repair.Leaks,
            "all" => Qcow2Repair.All,
            _ => Qcow2Repair.None,
        };
        var result = await ImageCheck.RunAsync(
            NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
            OpenOptions(parsed, parsed.GetValue(_format)),
            repair,
            cancellationToken);
        if (result is null)
        {
            Console.WriteError("This image format does not support checks");
            return NotSupported;
        }

        // As it was given, which is how qemu-img shows it here.
        result = result with { FileName = parsed.GetRequiredValue(_file) };
        foreach (var line in result.RepairMessages.Concat(result.Report.Messages))
        {
            Console.WriteMessage(line);
        }

        if (WantsJson(parsed))
        {
            WriteJson(result.ToDict());
        }
        else if (!parsed.GetValue(Quiet))
        {
            Console.Output.Write(result.ToText());
        }

        return result.ExitCode;
    }
}
