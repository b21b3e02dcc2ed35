using System.Globalization;
using System.Text;
using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>
/// A walk on a square board from a start to a goal round walls, in at most <see cref="Moves"/> moves. Cells are numbered
/// row by row from zero; in texts a cell is its row and column digit, from <c>11</c>. The prompt reads
/// <c>start&gt;goal moves:wall wall …</c> with walls ascending.
/// </summary>
public sealed class GridProblem : TaskProblem
{
    /// <summary>The moves in the order in which ties and draws number them.</summary>
    internal const string Directions = "UDLR";

    /// <summary>Largest side: a cell's name has one digit each for row and column.</summary>
    internal const int MaxSize = 9;

    private const int Unreachable = -1;
    private readonly bool[] _isWall;
    private readonly int[] _distance;

    /// <param name="size">Side of the board.</param>
    /// <param name="start">Start cell.</param>
    /// <param name="goal">Goal cell.</param>
    /// <param name="moves">Budget of moves.</param>
    /// <param name="walls">Blocked cells, ascending, all different from start and goal.</param>
    internal GridProblem(int size, int start, int goal, int moves, int[] walls)
    {
        Size = size;
        Start = start;
        Goal = goal;
        Moves = moves;
        Walls = walls;
        _isWall = new bool[size * size];
        foreach (int wall in walls) _isWall[wall] = true;
        _distance = DistancesToGoal();
        StringBuilder prompt = new();
        prompt.Append(CellName(start)).Append('>').Append(CellName(goal)).Append(' ')
            .Append(moves.ToString(CultureInfo.InvariantCulture)).Append(':');
        for (int i = 0; i < walls.Length; i++) prompt.Append(i == 0 ? "" : " ").Append(CellName(walls[i]));
        Prompt = prompt.Append('\n').ToString();
    }

    /// <inheritdoc/>
    public override string Prompt { get; }

    /// <summary>Side of the board in cells.</summary>
    public int Size { get; }

    /// <summary>Start cell, 0 .. Size² − 1.</summary>
    public int Start { get; }

    /// <summary>Goal cell, 0 .. Size² − 1.</summary>
    public int Goal { get; }

    /// <summary>Most moves that a right answer may use.</summary>
    public int Moves { get; }

    /// <summary>Blocked cells, ascending.</summary>
    public IReadOnlyList<int> Walls { get; }

    /// <summary>Moves of the shortest way from start to goal; null where walls cut them apart.</summary>
    public int? ShortestWay => _distance[Start] == Unreachable ? null : _distance[Start];

    /// <summary>A cell's name in prompts and steps: row digit, column digit.</summary>
    public string CellName(int cell) => string.Create(2, (cell, Size), static (text, x) =>
    {
        text[0] = (char)('1' + x.cell / x.Size);
        text[1] = (char)('1' + x.cell % x.Size);
    });

    /// <summary>The cell that a name denotes, or −1.</summary>
    internal static int ParseCell(ReadOnlySpan<char> name, int size)
    {
        if (name.Length != 2) return -1;
        int row = name[0] - '1', column = name[1] - '1';
        return (uint)row < (uint)size && (uint)column < (uint)size ? row * size + column : -1;
    }

    /// <summary>The cell that a move leads to, or −1 where the edge or a wall forbids it.</summary>
    /// <param name="cell">Where the robot stands.</param>
    /// <param name="direction">Index into <see cref="Directions"/>.</param>
    internal int Step(int cell, int direction)
    {
        int row = cell / Size, column = cell % Size;
        (row, column) = direction switch
        {
            0 => (row - 1, column),
            1 => (row + 1, column),
            2 => (row, column - 1),
            _ => (row, column + 1),
        };
        if ((uint)row >= (uint)Size || (uint)column >= (uint)Size) return -1;
        int next = row * Size + column;
        return _isWall[next] ? -1 : next;
    }

    /// <summary>The cell two moves on in one direction, or −1 where the edge or a wall forbids it.</summary>
    internal int Leap(int cell, int direction) => Step(cell, direction) is int over and >= 0 ? Step(over, direction) : -1;

    /// <summary>Moves from a cell to the goal, −1 where there is no way.</summary>
    internal int Distance(int cell) => _distance[cell];

    /// <summary>Rows plus columns between a cell and the goal, walls ignored.</summary>
    internal int CoordinateDistance(int cell) => Math.Abs(cell / Size - Goal / Size) + Math.Abs(cell % Size - Goal % Size);

    /// <summary>
    /// A uniform number in [0, 1) that depends on the board alone, not on the budget nor on any seed: it decides the split, so that
    /// a checkpoint trained under one seed has never seen what another seed holds out.
    /// </summary>
    internal double SplitFraction() => Fraction(0xB0A2D);

    /// <summary>Whether a leap from a cell comes off: fixed for each board, cell and direction, and not to be seen in the prompt.</summary>
    internal bool Holds(int cell, int direction, double chance) => Fraction(0xB0A2E + 4 * cell + direction) < chance;

    private double Fraction(int key)
    {
        Span<uint> walls = stackalloc uint[3];
        foreach (int wall in Walls) walls[wall / 32] |= 1u << (wall % 32);
        uint word = Philox.Block((uint)(Start * 128 + Goal), walls[0], walls[1], walls[2], (uint)Size, (uint)key).A;
        return word * (1.0 / 4294967296.0);
    }

    private int[] DistancesToGoal()
    {
        int[] distance = new int[Size * Size];
        Array.Fill(distance, Unreachable);
        Span<int> queue = stackalloc int[MaxSize * MaxSize];
        int head = 0, tail = 0;
        queue[tail++] = Goal;
        distance[Goal] = 0;
        while (head < tail)
        {
            int cell = queue[head++];
            for (int direction = 0; direction < Directions.Length; direction++)
            {
                int next = Step(cell, direction);
                if (next < 0 || distance[next] != Unreachable) continue;
                distance[next] = distance[cell] + 1;
                queue[tail++] = next;
            }
        }
        return distance;
    }
}
