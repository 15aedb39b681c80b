using System.Text;

namespace Tidemark.Cli.Terminal;

/// <summary>Reads a line from the terminal without showing it.</summary>
internal static class SecretPrompt
{
    /// <summary>Writes the prompt to standard error and reads until Enter.</summary>
    public static string Read(string prompt)
    {
        Console.Error.Write(prompt);
        var text = new StringBuilder();
        for (; ; )
        {
            var key = Console.ReadKey(intercept: true);
            if (key.Key == ConsoleKey.Enter)
            {
                Console.Error.WriteLine();
                return text.ToString();
            }

            if (key.Key == ConsoleKey.Backspace)
            {
                text.Length = Math.Max(0, text.Length - 1);
            }
            else if (key.KeyChar >= ' ')
            {
                text.Append(key.KeyChar);
            }
        }
    }
}
