using System.CommandLine;

namespace Tidemark.Cli.Commands;

/// <summary>The option <c>--json</c> of every verb that reports.</summary>
internal static class JsonOption
{
    /// <summary>Creates it and adds it to a verb.</summary>
    public static Option<bool> AddTo(Command command)
    {
        var option = new Option<bool>("--json") { Description = "Print the result as one line of JSON." };
        command.Add(option);
        return option;
    }
}
