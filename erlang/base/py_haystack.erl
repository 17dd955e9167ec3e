%%% @doc Project Haystack's kinds of values as terms, the shapes of calls with `haystack => true' (`docs/haystack.md').
%%%
%%% Types, and what makes and takes apart the larger of them: grids and matrices. All else is pattern matching. Names of
%%% columns are compared as texts: an atom, a string and a binary may name the same column.
-module(py_haystack).

-export([grid/2, grid/3, meta/1, names/1, rows/1, column/2, to_columns/1, matrix/1, to_rows/1, explained/3]).
-export_type([marker/0, na/0, remove/0, quantity/0, ref/0, uri/0, coord/0, timestamp/0, text/0, dict/0]).
-export_type([grid/0, col/0, row/0, array/0, dtype/0, matrix/0]).

-type text() :: unicode:unicode_binary() | string().
%% What comes from Python is a binary with `strings => binary', a string without.
-type marker() :: {py, marker}.
-type na() :: {py, na}.
-type remove() :: {py, remove}.
-type quantity() :: {number, number() | nan | infinity | '-infinity', Unit :: text()}.
%% A Number with a unit; one without is a number.
-type ref() :: {ref, Id :: text(), Dis :: text() | undefined}.
-type uri() :: {uri, text()}.
-type coord() :: {coord, Latitude :: number(), Longitude :: number()}.
%% Degrees; what comes from Python are floats.
-type timestamp() :: {timestamp, Nanoseconds :: integer(), Zone :: undefined | {string(), term()}}.
%% A DateTime that `{"datetime", _}' has no room for. The nanoseconds are those of `erlang:system_time/1'.
-type dict() :: #{term() => term()} | {string(), [{term(), term()}]}.
%% A map with `dicts => map', `{"dict", Pairs}' without.
-type grid() :: {grid, #{meta := dict(), cols := [col()], rows := [row()]}}.
-type col() :: #{name := atom() | text(), meta := dict()} | atom() | text().
%% What comes from Python are maps.
-type row() :: [term()] | #{atom() | text() => term()}.
%% A cell for each column, `undefined' where there is none. What comes from Python are lists.
-type array() :: {string(), {dtype(), Shape :: tuple(), binary()}}.
%% `{"ndarray", _}'.
-type dtype() :: text() | [{Name :: text(), dtype(), Shape :: tuple()}].
-type matrix() :: {matrix, Rows :: non_neg_integer(), Cols :: non_neg_integer(), binary()}.
%% Floats of 64 bits, low byte first, row by row.

%% @doc What Python says of arguments that it can't read, with what to do about a matrix among them, whose binary is taken for
%% text in a call that does not have the forms of this module.
-spec explained(string(), [term()], py_mapping:mapping()) -> string().
explained(Text, _Args, #{haystack := true}) ->
    Text;
explained(Text, Args, _Mapping) when is_list(Text) ->
    case string:find(Text, "is not UTF-8") =/= nomatch andalso has_matrix(Args) of
        true -> Text ++ "; a matrix is read with the option haystack => true";
        false -> Text
    end;
explained(Text, _Args, _Mapping) ->
    Text.

has_matrix({matrix, Rows, Cols, Content}) -> is_integer(Rows) andalso is_integer(Cols) andalso is_binary(Content);
has_matrix([Head | Tail]) -> has_matrix(Head) orelse has_matrix(Tail);
has_matrix(Tuple) when is_tuple(Tuple) -> has_matrix(tuple_to_list(Tuple));
has_matrix(Map) when is_map(Map) -> has_matrix(maps:to_list(Map));
has_matrix(_) -> false.

%% @doc A grid without meta.
-spec grid([col()], [row()]) -> grid().
grid(Cols, Rows) -> grid(#{}, Cols, Rows).

%% @doc A grid; rows may be lists of cells or maps from names to cells.
-spec grid(dict(), [col()], [row()]) -> grid().
grid(Meta, Cols, Rows) when is_list(Cols), is_list(Rows) ->
    {grid, #{meta => Meta, cols => Cols, rows => Rows}}.

%% @doc The meta of a grid.
-spec meta(grid()) -> dict().
meta({grid, #{meta := Meta}}) -> Meta.

%% @doc The names of a grid's columns, as they stand there.
-spec names(grid()) -> [atom() | text()].
names({grid, #{cols := Cols}}) -> [name(Col) || Col <- Cols].

name(#{name := Name}) -> Name;
name(Name) -> Name.

%% @doc The rows as maps from the names to the cells that are there (not `undefined').
-spec rows(grid()) -> [#{atom() | text() => term()}].
rows({grid, #{rows := Rows}} = Grid) ->
    Names = names(Grid),
    [present(cells(Row, Names), Names) || Row <- Rows].

present(Cells, Names) ->
    maps:from_list([Pair || {_, Cell} = Pair <- lists:zip(Names, Cells), Cell =/= undefined]).

%% @doc The cells of one column; `error({no_column, Name})' where there is none of the name.
-spec column(atom() | text(), grid()) -> [term()].
column(Name, {grid, #{rows := Rows}} = Grid) ->
    Names = names(Grid),
    Texts = [text(Each) || Each <- Names],
    case lists:member(text(Name), Texts) of
        true ->
            Place = length(lists:takewhile(fun(Text) -> Text =/= text(Name) end, Texts)) + 1,
            [lists:nth(Place, cells(Row, Names)) || Row <- Rows];
        false ->
            error({no_column, Name})
    end.

%% @doc The cells of each column, by the columns' names: what `frames => columns' gives.
-spec to_columns(grid()) -> #{atom() | text() => [term()]}.
to_columns({grid, #{rows := Rows}} = Grid) ->
    Names = names(Grid),
    maps:from_list(lists:zip(Names, transposed([cells(Row, Names) || Row <- Rows], Names))).

transposed([], Names) -> [[] || _ <- Names];
transposed(Rows, Names) ->
    Reversed = lists:foldl(
        fun(Row, Columns) -> lists:zipwith(fun(Cell, Column) -> [Cell | Column] end, Row, Columns) end,
        [[] || _ <- Names],
        Rows
    ),
    [lists:reverse(Column) || Column <- Reversed].

cells(Row, _Names) when is_list(Row) -> Row;
cells(Row, Names) when is_map(Row) ->
    Known = maps:from_list([{text(Name), Cell} || {Name, Cell} <- maps:to_list(Row)]),
    [maps:get(text(Name), Known, undefined) || Name <- Names].

text(Name) when is_atom(Name) -> atom_to_binary(Name, utf8);
text(Name) -> unicode:characters_to_binary(Name).

%% @doc A matrix from rows of numbers, all of one length; `badarg' for others.
-spec matrix([[number()]]) -> matrix().
matrix(Rows) ->
    Cols = case Rows of [] -> 0; [First | _] -> length(First) end,
    lists:all(fun(Row) -> length(Row) =:= Cols end, Rows) orelse error(badarg, [Rows]),
    {matrix, length(Rows), Cols, << <<Number/float-little>> || Row <- Rows, Number <- Row >>}.

%% @doc The rows of a matrix. What Erlang has no float for is an atom: `nan', `infinity', `-infinity'.
-spec to_rows(matrix()) -> [[float() | nan | infinity | '-infinity']].
to_rows({matrix, Rows, Cols, Binary}) when byte_size(Binary) =:= Rows * Cols * 8 ->
    [numbers(binary:part(Binary, Row * Cols * 8, Cols * 8)) || Row <- lists:seq(0, Rows - 1)].

numbers(<<Number/float-little, Rest/binary>>) -> [Number | numbers(Rest)];
numbers(<<0:48, 16#F0, 16#7F, Rest/binary>>) -> [infinity | numbers(Rest)];
numbers(<<0:48, 16#F0, 16#FF, Rest/binary>>) -> ['-infinity' | numbers(Rest)];
numbers(<<_:64, Rest/binary>>) -> [nan | numbers(Rest)];
numbers(<<>>) -> [].
