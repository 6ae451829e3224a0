"""Short forms and spellings under which one name goes."""

from __future__ import annotations

# Each line: the given name, then what the same person is also called.
NICKNAMES: dict[str, tuple[str, ...]] = {
    line.split()[0]: tuple(line.split()[1:])
    for line in """William Bill Will Billy Liam
Robert Rob Bob Bobby
Richard Rick Dick Richie
James Jim Jimmy Jamie
John Jack Johnny
Michael Mike Mick
David Dave
Daniel Dan Danny
Matthew Matt
Joshua Josh
Christopher Chris
Andrew Andy Drew
Benjamin Ben
Samuel Sam
Joseph Joe
Alexander Alex Sandy
Thomas Tom Tommy
Anthony Tony
Jonathan Jon
Timothy Tim
Patrick Pat Paddy
Kenneth Ken
Steven Steve
Stephen Steve
Philip Phil
Nicholas Nick
Edward Ted Ed Eddie
Henry Harry Hal
Charles Charlie Chuck
Nathan Nate
Zachary Zac
Gregory Greg
Jeffrey Jeff
Raymond Ray
Ronald Ron
Donald Don
Walter Wally Walt
Albert Bert Al
Arthur Art
Frederick Fred
Leonard Len
Douglas Doug
Geoffrey Geoff
Lawrence Larry Laurie
Mitchell Mitch
Theodore Theo Ted
Terence Terry
Vincent Vince
Victor Vic
Bradley Brad
Cameron Cam
Dominic Dom
Francis Frank
Reginald Reg
Rodney Rod
Russell Russ
Sebastian Seb
Peter Pete
Jacob Jake
Giuseppe Joe Pino
Antonio Tony
Giovanni John Gianni
Salvatore Sam Sal
Francesco Frank
Dimitrios Jim Dimitri
Konstantinos Con Kosta
Panagiotis Peter
Theodoros Theo
Yiannis John
Mohammed Mo
Francisco Paco Frank
Jose Pepe Joe
Alejandro Alex
Elizabeth Liz Beth Betty Lizzie
Jennifer Jen Jenny
Katherine Kate Kathy Katie
Catherine Cathy Kate
Margaret Maggie Peggy Meg
Susan Sue
Rebecca Bec Becky
Samantha Sam
Jessica Jess
Emily Em
Victoria Vicky Tori
Patricia Pat Trish
Barbara Barb
Deborah Deb Debbie
Natalie Nat
Danielle Dani
Stephanie Steph
Madison Maddie
Abigail Abby
Eleanor Ellie Nell
Caroline Carrie
Christine Chris
Dorothy Dot
Jacqueline Jackie
Melissa Mel
Amanda Mandy
Isabella Bella
Alexandra Alex Lexi
Penelope Penny
Philippa Pip
Josephine Jo Josie
Joanne Jo
Pamela Pam
Sandra Sandy
Kathleen Kath Kathy
Frances Fran
Matilda Tilly
Harriet Hattie
Cassandra Cass
Veronica Ronnie
Theresa Tess
Teresa Terry Tess
Michelle Shelly
Nicole Nikki
Rosemary Rose
Charlotte Charlie Lottie
Amelia Millie
Olivia Liv
Georgia George
Valerie Val
Bridget Biddy
Katarzyna Kasia
Magdalena Magda
Anastasia Stacey
Guadalupe Lupe
Francesca Fran""".splitlines()
}

# Each line: names that are spelt differently for one and the same ear.
SPELLINGS: dict[str, tuple[str, ...]] = {
    name: tuple(other for other in line.split() if other != name)
    for line in """Catherine Katherine Kathryn Cathryn Katharine
Stephen Steven
Sarah Sara
Anne Ann
Phillip Philip
Geoffrey Jeffrey
Jonathan Jonathon Johnathan
Mohammed Mohamed Muhammad Mohammad
Alan Allan Allen
Sean Shaun Shawn
Graham Graeme
Stuart Stewart
Claire Clare
Helen Helene
Karen Karin
Tracey Tracy
Lindsay Lindsey
Zachary Zachery
Nicholas Nicolas
Zoe Zoë
Hannah Hanna
Rachel Rachael
Rebecca Rebekah
Elliot Elliott
Gillian Jillian
Louise Luise
Ahmed Ahmad
Yusuf Yousef
Hussein Hussain
Fatima Fatimah
Aisha Ayesha
Smith Smyth Smythe
Brown Browne
Clarke Clark
Reid Read Reed
Thompson Thomson
Macdonald McDonald MacDonald
McKenzie MacKenzie
Phillips Philips
Davies Davis
Johnson Johnston Johnstone
Moore More
Gray Grey
Green Greene
Harris Harries
Matthews Mathews
Nicholson Nicolson
Rogers Rodgers
Pearson Pierson
Lawrence Laurence
Hughes Hewes
Stevens Stephens
Cook Cooke
Day Daye
Schmidt Schmitt
Meyer Meier Maier
Petersen Peterson
Nielsen Nielson
Hansen Hanson
McLean MacLean
McLeod MacLeod
O'Neill O'Neil
O'Brien O'Bryan
Doyle Doyal
Byrne Burn
Chaudhry Choudhury
Rahman Rehman
Gonzalez Gonzales
Perez Peres""".splitlines()
    for name in line.split()
}


def called_alike(one: str, other: str) -> bool:
    """Return whether two given names share a form by which people may be called."""
    return bool({one, *NICKNAMES.get(one, ())} & {other, *NICKNAMES.get(other, ())})
