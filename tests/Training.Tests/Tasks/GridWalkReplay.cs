namespace Bellman.Training.Tests.Tasks;

/// <summary>
/// The rules of the walking tasks once more, written from the text alone and sharing nothing with the product: reads prompt
/// and response as strings and says whether the response is right.
/// </summary>
internal static class GridWalkReplay
{
    internal static bool IsRight(string prompt, string response, int size)
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
            int row = at[0] - '0', column = at[1] - '0';
            string next = line.Length == 0 ? "" : line[0] switch
            {
                'U' => $"{row - 1}{column}",
                'D' => $"{row + 1}{column}",
                'L' => $"{row}{column - 1}",
                'R' => $"{row}{column + 1}",
                _ => "",
            };
            bool inside = next.Length == 2 && next.All(digit => digit >= '1' && digit <= '0' + size);
            if (!inside || walls.Contains(next) || line[1..] != next) return false;
            at = next;
        }
        return at == goal;
    }
}
