namespace Bellman.Training.Tests.Tasks;

/// <summary>
/// The rules of the walking tasks once more, written from the text alone and sharing nothing with the product: reads prompt
/// and response as strings and says whether the response is right.
/// </summary>
internal static class GridWalkReplay
{
    /// <param name="prompt">The problem.</param>
    /// <param name="response">The walk.</param>
    /// <param name="size">Side of the board.</param>
    /// <param name="leapHolds">Whether a leap in a direction from a cell comes off; null where the task has no leaps.</param>
    internal static bool IsRight(string prompt, string response, int size, Func<string, char, bool>? leapHolds = null)
    {
        string[] halves = prompt.TrimEnd('\n').Split(':');
        string[] head = halves[0].Split(' ');
        string at = head[0][..2], goal = head[0][3..];
        int moves = int.Parse(head[1]);
        string[] walls = halves[1].Split(' ');
        string[] lines = response.Split('\n');
        if (lines[^1] != "####" + goal || lines.Length - 1 > moves) return false;
        foreach (string line in lines[..^1])
        {
            bool leap = leapHolds is not null && line.Length == 4 && line[0] == line[1];
            string next = at;
            for (int cells = leap ? 2 : 1; cells > 0 && next.Length == 2; cells--)
            {
                int row = next[0] - '0', column = next[1] - '0';
                next = line.Length == 0 ? "" : line[0] switch
                {
                    'U' => $"{row - 1}{column}",
                    'D' => $"{row + 1}{column}",
                    'L' => $"{row}{column - 1}",
                    'R' => $"{row}{column + 1}",
                    _ => "",
                };
                if (next.Length != 2 || !next.All(digit => digit >= '1' && digit <= '0' + size) || walls.Contains(next)) return false;
            }
            if (line[(leap ? 2 : 1)..] != next || (leap && !leapHolds!(at, line[0]))) return false;
            at = next;
        }
        return at == goal;
    }
}
